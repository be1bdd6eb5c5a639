"""The inputs that the fuzz targets begin with: `python -m tests.fuzz.seeds` writes them.

They are what the packer writes, in small; what the fuzzers then found beyond it, and each input
that was once answered wrongly, lies beside them in `corpus`.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Final

import zstandard

from layerpack.elf import filter as branches
from layerpack.elf import format as elf
from layerpack.elf.drop_table import drop_table
from layerpack.elf.drops import Dropped, Drops, Entry
from layerpack.elf.index import (
    PAGE,
    Block,
    Index,
    Range,
    Run,
    Window,
    checksum,
    index_size,
    pages_of,
    write_index,
)

CORPUS: Final = Path(__file__).with_name("corpus")
#: Where fuzz_index.c puts the index in its library.
_INDEX: Final = 512 * 1024
_CODE: Final = elf.PF_R | elf.PF_X
_DROPS: Final = Drops(
    dropped=(Dropped(start=8, end=16, name="conv_2d", hint="add conv_2d to mxnet.operators"),),
    entries=(
        Entry(vaddr=24, before="the operator ", name="one", after=" is left out"),
        Entry(vaddr=32, before="operator ", name="two", after="", argument=1, steps=1),
        Entry(vaddr=40, before="operator ", name="two", after="", argument=2, steps=0),
    ),
    thrower=64,
    needs="avx2",
    needs_hint="build it with cpu: {x86_64: [baseline]}",
    probes=(48, 56),
)


def main() -> None:
    """Write all of them."""
    for target, inputs in {
        "index": _indexes(),
        "inflate": _frames(),
        "ranges": _ranges(),
        "filter": _pieces(),
    }.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed-{number:02}").write_bytes(data)


def _indexes() -> list[bytes]:
    one = (Range(vaddr=PAGE, pages=3, flags=_CODE),)
    two = (*one, Range(vaddr=8 * PAGE, pages=2, flags=elf.PF_R))
    runs_of: dict[tuple[Range, ...], list[tuple[Run, ...]]] = {
        one: [(Run(page=0, pages=3),)],
        two: [(Run(page=1, pages=2), Run(page=4, pages=1)), (Run(page=0, pages=1),)],
    }
    runs_of[two].append((Run(page=3, pages=1),))
    made = [
        _library(ranges, runs_of[ranges], drops, kind)
        for ranges in (one, two)
        for drops in (b"", drop_table(_DROPS, b"\x90\x90"))
        for kind in (branches.NONE, branches.X86_64)
    ]
    made.append(_library(one, runs_of[one], b"", branches.NONE, blocks=(5, 9)))
    # The first byte is fuzz_index.c's: whether pages are traced.
    return [bytes([first]) + data for data in made for first in (0, 2)]


def _library(
    ranges: tuple[Range, ...],
    cuts: list[tuple[Run, ...]],
    drops: bytes,
    kind: int,
    blocks: tuple[int, ...] = (),
) -> bytes:
    """An index with the frames behind it, and two pages of data at each of the pages `blocks`. All
    pages are alike: any order of them is sound."""
    windows, frames = [], b""
    for runs in cuts:
        data = b"\x90" * (PAGE * sum(run.pages for run in runs))
        frame = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(data)
        windows.append(
            Window(runs=runs, offset=len(frames), size=len(frame), checksum=checksum(data))
        )
        frames += frame
    data = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(b"\1" * PAGE * 2)
    placed = []
    for page in blocks:
        at = {"vaddr": page * PAGE, "offset": len(frames), "size": len(data)}
        placed.append(Block(**at, pages=2, flags=elf.PF_R))
        frames += data
    index = Index(
        source=bytes(range(32)),
        name="libfuzz.so",
        frames=0,
        frames_size=len(frames),
        filter=kind,
        filter_bits=24 if kind else 0,
        ranges=ranges,
        windows=tuple(windows),
        drops=drops,
        blocks=tuple(placed),
        starter=PAGE * 20 if blocks else 0,
    )
    assert pages_of(ranges) == sum(run.pages for runs in cuts for run in runs)
    return write_index(index, frames=_INDEX + index_size(index)) + frames


def _frames() -> list[bytes]:
    numbers = random.Random(1)
    texts = [
        b"",
        b"a",
        b"\0" * 4096,
        bytes(numbers.choices(b"\x48\x89\xe8\x0f\x00\xff", k=3000)),
        b"".join(b"call f%d; " % (number % 7) for number in range(300)),
        numbers.randbytes(200),
    ]
    made = []
    for text in texts:
        for level in (1, 19):
            for check in (False, True):
                compressor = zstandard.ZstdCompressor(level=level, write_checksum=check)
                made.append(struct.pack("<BBH", 0, 0, len(text)) + compressor.compress(text))
        made.append(struct.pack("<BBBB", 1, 3, 77, 0) + text)
    # Half a frame; two frames; one that may be skipped before it (RFC 8878, 3.1.2).
    whole = made[13][4:]
    made.append(made[13][: len(whole) // 2])
    made.append(made[13] + whole)
    made.append(made[13][:4] + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + whole)
    return made


def _ranges() -> list[bytes]:
    one = struct.pack("<QIIII", 0x1000, 3, 0, 5, 0)
    two = struct.pack("<QIIII", 0x8000, 2, 3, 4, 0)
    last = struct.pack("<QIIII", (1 << 64) - PAGE, 1, (1 << 32) - 1, 5, 0)
    base = struct.pack("<Q", 0x7F0000000000)
    return [base, base + one, base + one + two, base + two + last, base + last + one]


def _pieces() -> list[bytes]:
    numbers = random.Random(2)
    telling = bytes.fromhex("e8 e9 89 8b 8d ff 0f 05 0d 15 25 35 3d 10 28 6f 7f 00 ff")
    heads = [bytes([22, 0, 0, 0, 0, 16, 0, 0]), bytes([30, 12, 0, 0, 255, 255, 255, 127])]
    sizes = (5, 19, 40, 200)
    return [head + bytes(numbers.choices(telling, k=size)) for head in heads for size in sizes]


if __name__ == "__main__":
    main()
