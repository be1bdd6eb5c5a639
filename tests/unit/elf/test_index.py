"""The index: what is written is read back, and damage is seen."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from layerpack import elf
from layerpack.elf import index as form

INDEX = form.Index(
    source=bytes(range(32)),
    name="libnäme.so.1",
    frames=0x123000,
    frames_size=999,
    filter=1,
    filter_bits=24,
    ranges=(
        form.Range(vaddr=0x2000, pages=5, flags=5),
        form.Range(vaddr=0x9000, pages=2, flags=4),
    ),
    windows=(
        form.Window(
            runs=(form.Run(page=1, pages=2), form.Run(page=6, pages=1)),
            offset=0,
            size=500,
            checksum=0xDEADBEEF,
        ),
        form.Window(
            runs=(form.Run(page=0, pages=1), form.Run(page=3, pages=2)),
            offset=500,
            size=400,
            checksum=1,
        ),
        form.Window(runs=(form.Run(page=5, pages=1),), offset=900, size=99, checksum=2),
    ),
)
BLOCKS = (
    form.Block(vaddr=0x20000, pages=256, flags=4, offset=1000, size=50),
    form.Block(vaddr=0x120000, pages=3, flags=5, offset=1050, size=7),
)


def test_it_comes_back_as_it_was() -> None:
    data = form.write_index(INDEX)
    assert len(data) == form.index_size(INDEX) and len(data) % 8 == 0
    assert form.read_index(data) == INDEX
    # Frames follow it in a file.
    assert form.read_index(data + b"frames") == INDEX
    empty = form.Index(
        source=bytes(32),
        name="",
        frames=0,
        frames_size=0,
        filter=0,
        filter_bits=0,
        ranges=(),
        windows=(),
    )
    assert form.read_index(form.write_index(empty)) == empty
    full = replace(INDEX, blocks=BLOCKS, starter=0x300000, drops=b"gone")
    assert form.read_index(form.write_index(full)) == full


@pytest.mark.parametrize("size", [4, 32, 36, 1000])
def test_what_was_left_out_comes_back(size: int) -> None:
    table = random.Random(size).randbytes(size)
    index = replace(INDEX, drops=table)
    data = form.write_index(index)
    assert len(data) == form.index_size(index)
    assert form.read_index(data + b"frames") == index
    (at,) = struct.unpack_from("<I", data, 120)
    # Behind all else, so that a reader knows its end by the index's.
    assert at % 8 == 0 and data[at:] == table
    assert struct.unpack_from("<I", form.write_index(INDEX), 120) == (0,)


def test_its_layout_is_what_the_pager_reads() -> None:
    """Against the fields of pager/format.h, written down here once more."""
    sizes = [form.HEADER.size, form.RANGE.size, form.WINDOW.size, form.RUN.size, form.BLOCK.size]
    assert sizes == [144, 24, 24, 8, 32]
    index = replace(INDEX, blocks=BLOCKS, starter=0x300000)
    data = form.write_index(index, frames=0x456000)
    assert data[:8] == b"LAYERPAK"
    assert struct.unpack_from("<I", data, 8) == (3,)
    assert struct.unpack_from("<Q", data, 16) == (len(data),)
    assert data[24:56] == bytes(range(32))
    assert struct.unpack_from("<QQ", data, 56) == (0x456000, 999)
    assert struct.unpack_from("<4I", data, 72) == (7, 2, 3, 5)
    ranges, pages, windows, runs = struct.unpack_from("<4I", data, 88)
    kind, bits, name, largest = struct.unpack_from("<4I", data, 104)
    assert (kind, bits, largest) == (1, 24, 3 * 4096)
    assert all(at % 8 == 0 for at in (ranges, pages, windows, runs))
    assert struct.unpack_from("<QIIIIQIII", data, ranges) == (
        *(0x2000, 5, 0, 5, 0),
        *(0x9000, 2, 5, 4),
    )
    assert struct.unpack_from("<7I", data, pages) == (1, 0, 0, 1, 1, 2, 0)
    assert struct.unpack_from("<QIIII", data, windows + 24) == (500, 400, 3 * 4096, 2, 1)
    assert struct.unpack_from("<10I", data, runs) == (1, 2, 6, 1, 0, 1, 3, 2, 5, 1)
    blocks, count, zero, starter = struct.unpack_from("<IIIQ", data, 124)
    assert (blocks % 8, count, zero, starter) == (0, 2, 0, 0x300000)
    assert struct.unpack_from("<QQIIIIQQIIII", data, blocks) == (
        *(0x20000, 1000, 50, 256, 4, 0),
        *(0x120000, 1050, 7, 3, 5, 0),
    )
    assert data[name:].partition(b"\0")[0] == "libnäme.so.1".encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    # From xxHash's own tests; XXH64 of them with seed 0.
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_the_checksum_is_xxh64(data: bytes, expected: int) -> None:
    assert form.checksum(data) == expected & 0xFFFFFFFF


def test_every_damaged_byte_is_seen() -> None:
    data = form.write_index(INDEX)
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        with pytest.raises(elf.ElfError, match="index"):
            form.read_index(damaged)
    generator = random.Random(3)
    for size in [0, 7, 16, 127, *(generator.randrange(len(data)) for _ in range(20))]:
        with pytest.raises(elf.ElfError, match="its index is damaged"):
            form.read_index(data[:size])


def test_a_name_without_end_is_damage() -> None:
    data = form.write_index(INDEX)
    fields = list(form.HEADER.unpack_from(data))
    fields[17] = len(data)
    form.HEADER.pack_into(changed := bytearray(data), 0, *fields)
    fields[2] = form.checksum(bytes(changed[16:]))
    form.HEADER.pack_into(changed, 0, *fields)
    with pytest.raises(elf.ElfError, match="its index is damaged"):
        form.read_index(bytes(changed))


def test_another_version_is_named() -> None:
    data = form.write_index(INDEX)
    with pytest.raises(elf.ElfError, match="version 4, not 3"):
        form.read_index(data[:8] + b"\x04\0\0\0" + data[12:])
