"""Cut ranges into windows, and compress each of them by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import zstandard

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Image
from layerpack.elf.filter import FILTERS, NONE, bits_for, encode
from layerpack.elf.index import PAGE, Block, Range, Run, Window, checksum, pages_of

#: What compresses, for keys of caches: another version may give other bytes.
ZSTD: Final = f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """Windows, blocks and the frames they name, in file order; `filter` and `filter_bits` as in
    `Index`."""

    windows: tuple[Window, ...]
    frames: tuple[bytes, ...]
    filter: int
    filter_bits: int
    blocks: tuple[Block, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(len(frame) for frame in self.frames)

    def with_blocks(self, blocks: tuple[Block, ...], frames: tuple[bytes, ...]) -> Compressed:
        """The same, and blocks that count from the first of their own frames."""
        moved = tuple(replace(one, offset=self.size + one.offset) for one in blocks)
        return replace(self, blocks=moved, frames=(*self.frames, *frames))


def cut(
    ranges: tuple[Range, ...], hot: tuple[int, ...], window_pages: int
) -> Iterator[tuple[Run, ...]]:
    """Cut ranges into windows of at most `window_pages` pages: the hot ones, then the rest.

    Hot windows hold hot pages in their order, whatever range they are in; cold ones the other
    pages of one range. Raises ValueError where a hot page does not exist.
    """
    count = pages_of(ranges)
    if any(not 0 <= page < count for page in hot):
        raise ValueError(f"a hot page is not among the {count} pages")
    places = _numbered(ranges)
    starts = {first for first, _ in places}
    for at in range(0, len(hot), window_pages):
        yield _runs(sorted(hot[at : at + window_pages]), starts)
    taken = set(hot)
    for first, one in places:
        pages = [page for page in range(first, first + one.pages) if page not in taken]
        for at in range(0, len(pages), window_pages):
            yield _runs(pages[at : at + window_pages], starts)


def compress(
    image: Image,
    machine: str,
    ranges: tuple[Range, ...],
    cuts: list[tuple[Run, ...]],
    *,
    level: int,
    threads: int,
) -> Compressed:
    """Compress each window of `cuts`; `machine` names the filter for code.

    The bytes that come out depend on `level` and the zstd library alone, not on `threads`.
    """
    kind = FILTERS[machine]
    bits = bits_for(max((one.end for one in ranges if one.flags & elf.PF_X), default=0))
    if bits is None:
        kind, bits = NONE, 0
    places = _numbered(ranges)
    # A compressor serves one thread at a time.
    local = threading.local()

    def work(runs: tuple[Run, ...]) -> tuple[bytes, int]:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        plain, filtered = [], []
        for run in runs:
            first, one = next(place for place in reversed(places) if place[0] <= run.page)
            vaddr = one.vaddr + (run.page - first) * PAGE
            data = bytes(image.bytes_at(vaddr, run.pages * PAGE))
            plain.append(data)
            code = one.flags & elf.PF_X
            filtered.append(encode(data, vaddr, kind, bits) if code else data)
        frame: bytes = local.compressor.compress(b"".join(filtered))
        return frame, checksum(b"".join(plain))

    windows: list[Window] = []
    offsets: dict[bytes, int] = {}
    end = 0
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for runs, (frame, check) in zip(cuts, pool.map(work, cuts), strict=True):
            # Equal windows (zeroes, mostly) are stored once.
            if frame not in offsets:
                offsets[frame] = end
                end += len(frame)
            offset = offsets[frame]
            windows.append(Window(runs=runs, offset=offset, size=len(frame), checksum=check))
    return Compressed(windows=tuple(windows), frames=tuple(offsets), filter=kind, filter_bits=bits)


def _runs(pages: list[int], starts: set[int]) -> tuple[Run, ...]:
    """Ascending pages as runs, none of which crosses from one range into another."""
    runs: list[Run] = []
    for page in pages:
        last = runs[-1] if runs else None
        if last is not None and page == last.page + last.pages and page not in starts:
            runs[-1] = Run(page=last.page, pages=last.pages + 1)
        else:
            runs.append(Run(page=page, pages=1))
    return tuple(runs)


def _numbered(ranges: tuple[Range, ...]) -> list[tuple[int, Range]]:
    """Ranges with the numbers of their first pages."""
    places = []
    first = 0
    for one in ranges:
        places.append((first, one))
        first += one.pages
    return places
