"""The check of packed libraries must see every difference that a process would."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zstandard

from layerpack import elf
from layerpack.elf import index as form
from layerpack.elf.rebuild import verify
from tests.unit.elf.pageable import pageable_library


@dataclass(frozen=True, kw_only=True)
class Pair:
    original: Path
    packed: Path

    def verdict(self, data: bytes) -> str | None:
        """What is found when the packed file holds `data`."""
        path = self.packed.with_name("changed.so")
        path.write_bytes(data)
        return verify(self.original, path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    original = pageable_library(folder / "lib.so")
    options = elf.PackOptions(level=3, window_size=8192, hot=(2, 9))
    assert isinstance(elf.pack(original, folder / "packed.so", options), elf.PackResult)
    return Pair(original=original, packed=folder / "packed.so")


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def _index(data: bytes) -> tuple[int, elf.Index]:
    segment = next(s for s in elf.read(data).segments if s.type == 0x6C706167)
    return segment.offset, elf.read_index(data[segment.offset :])


def _with_index(data: bytes, index: elf.Index) -> bytes:
    at, _ = _index(data)
    written = form.write_index(index)
    return data[:at] + written + data[at + len(written) :]


def test_a_packed_library_is_the_same(pair: Pair) -> None:
    assert verify(pair.original, pair.packed) is None


def test_any_byte_that_counts_is_seen(pair: Pair) -> None:
    data = pair.packed.read_bytes()
    source = elf.read(data)
    generator = random.Random(20261201)
    at, index = _index(data)
    places = [source.program_headers + n for n in range(0, 56 * len(source.segments), 5)]
    # p_paddr means nothing on Linux, nor does the offset of what has no bytes (GNU_STACK).
    places = [p for p in places if (p - source.program_headers) % 56 not in range(24, 32)]
    stack = next(n for n, s in enumerate(source.segments) if s.type == 0x6474E551)
    unused = source.program_headers + 56 * stack + 8
    places = [p for p in places if p not in range(unused, unused + 8)]
    places += [at + n for n in range(0, 128, 3)]
    places += [at + generator.randrange(form.index_size(index)) for _ in range(60)]
    tail = source.loads[-1]
    frames = tail.offset + index.frames - tail.vaddr
    places += [frames + generator.randrange(index.frames_size) for _ in range(60)]
    for load in (one for one in source.loads[:-2] if one.filesz):
        places += [load.offset, load.offset + load.filesz - 1]
        places += [load.offset + generator.randrange(load.filesz) for _ in range(20)]
    dynamic = source.loads[-2]
    places += range(dynamic.offset, dynamic.offset + 16 * 20, 7)
    # e_phoff, e_shoff and counts: the first is seen by what it breaks, the others name sections.
    places = [p for p in places if p not in range(40, 48) and p not in range(60, 64)]
    missed = [hex(p) for p in places if pair.verdict(_flipped(data, p)) is None]
    assert not missed, missed


def test_absent_pages_that_no_header_covers_are_seen(pair: Pair) -> None:
    """An address in them would be no library's for an unwinder."""
    source = elf.read(data := pair.packed.read_bytes())
    holes = [n for n, s in enumerate(source.segments) if s.type == 1 and not s.filesz]
    assert len(holes) == len(_index(data)[1].ranges) > 1
    for number in holes:
        changed = bytearray(data)
        # A type that the loader leaves alone.
        struct.pack_into("<I", changed, source.program_headers + 56 * number, 0x6FFFFFF0)
        assert pair.verdict(bytes(changed)) is not None


def test_a_file_that_ends_early_is_seen(pair: Pair) -> None:
    data = pair.packed.read_bytes()
    generator = random.Random(5)
    for size in [0, 1, 63, len(data) - 1, *(generator.randrange(len(data)) for _ in range(30))]:
        assert pair.verdict(data[:size]) is not None


def test_another_original_is_seen(pair: Pair, tmp_path: Path) -> None:
    data = pair.original.read_bytes()
    other = tmp_path / "other.so"
    for at in (len(data) - 1, 0x1234):
        other.write_bytes(_flipped(data, at))
        assert verify(other, pair.packed) is not None
    assert verify(pair.original, pair.original) is not None


def test_wrong_code_with_right_checksums_is_seen(pair: Pair) -> None:
    """Another byte in a window, of which frame, checksum and index agree with each other."""
    data = pair.packed.read_bytes()
    _, index = _index(data)
    tail = elf.read(data).loads[-1]
    number = next(n for n, w in enumerate(index.windows) if w.runs[0].page >= index.ranges[0].pages)
    window = index.windows[number]
    start = tail.offset + index.frames - tail.vaddr + window.offset
    plain = zstandard.ZstdDecompressor().decompress(data[start : start + window.size])
    wrong = _flipped(plain, 100)
    frame = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(wrong)
    # At the end, so that its size does not matter.
    offset = index.frames_size
    changed = replace(window, offset=offset, size=len(frame), checksum=form.checksum(wrong))
    windows = (*index.windows[:number], changed, *index.windows[number + 1 :])
    grown = bytearray(
        _with_index(data, replace(index, windows=windows, frames_size=offset + len(frame))) + frame
    )
    source = elf.read(bytes(grown))
    row = source.program_headers + 56 * source.segments.index(source.loads[-1])
    struct.pack_into("<QQ", grown, row + 32, *[tail.filesz + len(frame)] * 2)
    assert "its code differs" in str(pair.verdict(bytes(grown)))


def test_an_index_that_contradicts_itself_is_seen(pair: Pair) -> None:
    data = pair.packed.read_bytes()
    _, index = _index(data)
    first, second = index.windows[1:3]
    swapped = (index.windows[0], second, first, *index.windows[3:])
    assert pair.verdict(_with_index(data, replace(index, windows=swapped))) is None
    crossed = (replace(first, runs=second.runs), replace(second, runs=first.runs))
    wrong_windows = (index.windows[0], *crossed, *index.windows[3:])
    for changed in (
        replace(index, windows=wrong_windows),
        replace(index, source=bytes(32)),
        replace(index, filter=0),
        replace(index, filter=7),
        replace(index, filter_bits=40),
        replace(index, frames=index.frames + 1),
        replace(index, frames_size=index.frames_size - 1),
        replace(index, ranges=(replace(index.ranges[0], flags=7), *index.ranges[1:])),
        replace(index, ranges=(replace(index.ranges[0], flags=0), *index.ranges[1:])),
        replace(index, ranges=tuple(reversed(index.ranges))),
    ):
        assert pair.verdict(_with_index(data, changed)) is not None
