"""The index of a packed library: which pages are compressed, where, and how to restore them.

The pager's C source (`pager/format.h`) reads what this module writes. All numbers are
little-endian, and parts start at multiples of 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import zstandard

from layerpack.elf.format import ElfError

PAGE: Final = 4096
MAGIC: Final = b"LAYERPAK"
VERSION: Final = 3

#: magic, version, checksum, size, source, frames, frames_size; counts of pages, ranges, windows,
#: runs; offsets of ranges, pages, windows, runs; filter, filter_bits, name, largest_window; drops;
#: offset and count of blocks; zero; starter.
HEADER: Final = struct.Struct("<8sIIQ32sQQ4I4I4I3I4xQ")
#: vaddr, pages, first_page, flags, reserved.
RANGE: Final = struct.Struct("<QIIII")
#: offset, size, raw, first_run, checksum.
WINDOW: Final = struct.Struct("<QIIII")
#: page, pages.
RUN: Final = struct.Struct("<II")
#: vaddr, offset, size, pages, flags, reserved.
BLOCK: Final = struct.Struct("<QQIIII")
#: The index's checksum covers all that follows magic, version and the checksum itself.
_CHECKED_FROM: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Pages that are paged: `pages` of them from address `vaddr`, with PF_* `flags`."""

    vaddr: int
    pages: int
    flags: int

    @property
    def end(self) -> int:
        """The address behind its last page."""
        return self.vaddr + self.pages * PAGE


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """`pages` consecutive pages of one range, from page number `page`."""

    page: int
    pages: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What is compressed together: its runs' bytes, in one frame of `size` bytes.

    `offset` counts from the first frame; `checksum` is that of the runs' bytes, unfiltered.
    """

    runs: tuple[Run, ...]
    offset: int
    size: int
    checksum: int

    @property
    def raw(self) -> int:
        """Its uncompressed bytes."""
        return PAGE * sum(run.pages for run in self.runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Data that is decompressed when the library is loaded: `pages` of it from address `vaddr`, and
    PF_* `flags`, in one frame of `size` bytes, `offset` bytes from the first frame."""

    vaddr: int
    pages: int
    flags: int
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """`source` is the SHA-256 of the original file, `frames` the frames' address; `name` is for
    messages. Pages are numbered from 0 through all `ranges`, in order. `drops` is the table of what
    was left out (drop_table.py), empty where nothing was. `starter` is the address of the code that
    has the `blocks` decompressed, 0 without any."""

    source: bytes
    name: str
    frames: int
    frames_size: int
    filter: int
    filter_bits: int
    ranges: tuple[Range, ...]
    windows: tuple[Window, ...]
    drops: bytes = b""
    blocks: tuple[Block, ...] = ()
    starter: int = 0


def checksum(data: bytes | memoryview) -> int:
    """The low 32 bits of XXH64 with seed 0.

    These are what a zstd frame ends with when it has a content checksum (RFC 8878, 3.1.1), so the
    compressor computes them, at a level that hardly compresses.
    """
    compressor = zstandard.ZstdCompressor(level=-50, write_checksum=True)
    return int.from_bytes(compressor.compress(data)[-4:], "little")


def pages_of(ranges: Iterable[Range]) -> int:
    """How many pages some ranges have."""
    return sum(one.pages for one in ranges)


def index_size(index: Index) -> int:
    """How many bytes `write_index` gives."""
    return _places(index).size


def write_index(index: Index, *, frames: int | None = None) -> bytes:
    """The bytes of an index; `frames` is where the frames are, if not where it says."""
    places = _places(index)
    pages = pages_of(index.ranges)
    out = bytearray(places.size)
    first_page = 0
    for number, one in enumerate(index.ranges):
        at = places.ranges + number * RANGE.size
        RANGE.pack_into(out, at, one.vaddr, one.pages, first_page, one.flags, 0)
        first_page += one.pages
    first_run = 0
    for number, window in enumerate(index.windows):
        at = places.windows + number * WINDOW.size
        fields = (window.offset, window.size, window.raw, first_run, window.checksum)
        WINDOW.pack_into(out, at, *fields)
        for run in window.runs:
            RUN.pack_into(out, places.runs + first_run * RUN.size, run.page, run.pages)
            at = places.pages + 4 * run.page
            out[at : at + 4 * run.pages] = number.to_bytes(4, "little") * run.pages
            first_run += 1
    for number, block in enumerate(index.blocks):
        at = places.blocks + number * BLOCK.size
        BLOCK.pack_into(out, at, block.vaddr, block.offset, block.size, block.pages, block.flags, 0)
    out[places.name : places.name + len(index.name.encode())] = index.name.encode()
    out[places.drops : places.drops + len(index.drops)] = index.drops
    header = (
        *(places.size, index.source, index.frames if frames is None else frames),
        *(index.frames_size, pages, len(index.ranges), len(index.windows), first_run),
        *(places.ranges, places.pages, places.windows, places.runs),
        *(index.filter, index.filter_bits, places.name),
        max((window.raw for window in index.windows), default=0),
        places.drops if index.drops else 0,
        *(places.blocks, len(index.blocks), index.starter),
    )
    HEADER.pack_into(out, 0, MAGIC, VERSION, 0, *header)
    HEADER.pack_into(out, 0, MAGIC, VERSION, checksum(bytes(out[_CHECKED_FROM:])), *header)
    return bytes(out)


def read_index(data: bytes | memoryview) -> Index:
    """The index that `data` begins with. Raises ElfError for anything that is not a whole one."""
    try:
        return _read_index(bytes(data))
    except (struct.error, UnicodeDecodeError):
        raise ElfError("its index is damaged") from None


def _read_index(data: bytes) -> Index:
    fields = HEADER.unpack_from(data)
    magic, version, expected, size, source, frames, frames_size = fields[:7]
    _, range_count, window_count, run_count = fields[7:11]
    ranges_at, _, windows_at, runs_at = fields[11:15]
    kind, bits, name_at, _, drops_at, blocks_at, block_count, starter = fields[15:]
    if magic != MAGIC:
        raise ElfError("its index is damaged")
    if version != VERSION:
        raise ElfError(f"its index has version {version}, not {VERSION}")
    if size > len(data) or checksum(data[_CHECKED_FROM:size]) != expected:
        raise ElfError("its index is damaged")
    ranges = []
    for number in range(range_count):
        vaddr, pages, _, flags, _ = RANGE.unpack_from(data, ranges_at + number * RANGE.size)
        ranges.append(Range(vaddr=vaddr, pages=pages, flags=flags))
    rows = [
        WINDOW.unpack_from(data, windows_at + number * WINDOW.size)
        for number in range(window_count)
    ]
    firsts = [row[3] for row in rows] + [run_count]
    windows = []
    for number, (offset, compressed, _, first, check) in enumerate(rows):
        runs = tuple(
            Run(page=page, pages=pages)
            for page, pages in (
                RUN.unpack_from(data, runs_at + at * RUN.size)
                for at in range(first, firsts[number + 1])
            )
        )
        windows.append(Window(runs=runs, offset=offset, size=compressed, checksum=check))
    blocks = []
    for number in range(block_count):
        row = BLOCK.unpack_from(data, blocks_at + number * BLOCK.size)
        vaddr, offset, length, pages, flags, _ = row
        blocks.append(Block(vaddr=vaddr, pages=pages, flags=flags, offset=offset, size=length))
    name, end, _ = data[name_at:size].partition(b"\0")
    if not end:
        raise ElfError("its index is damaged")
    return Index(
        source=source,
        name=name.decode(),
        frames=frames,
        frames_size=frames_size,
        filter=kind,
        filter_bits=bits,
        ranges=tuple(ranges),
        windows=tuple(windows),
        drops=data[drops_at:size] if drops_at else b"",
        blocks=tuple(blocks),
        starter=starter,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Where an index's parts lie, in bytes from its start."""

    ranges: int
    pages: int
    windows: int
    runs: int
    blocks: int
    name: int
    drops: int
    size: int


def _places(index: Index) -> _Places:
    runs = sum(len(window.runs) for window in index.windows)
    sizes = (
        *(len(index.ranges) * RANGE.size, pages_of(index.ranges) * 4),
        *(len(index.windows) * WINDOW.size, runs * RUN.size, len(index.blocks) * BLOCK.size),
        *(len(index.name.encode()) + 1, len(index.drops)),
    )
    places = [HEADER.size]
    for size in sizes:
        places.append(places[-1] + -(-size // 8) * 8)
    ranges, pages, windows, runs_at, blocks, name, drops, end = places
    return _Places(
        ranges=ranges,
        pages=pages,
        windows=windows,
        runs=runs_at,
        blocks=blocks,
        name=name,
        drops=drops,
        # Not beyond the table's own end, by which a reader knows it.
        size=drops + len(index.drops) if index.drops else end,
    )
