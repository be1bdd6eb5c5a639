"""Pack a shared library: its code is stored compressed in it, and paged in when it is touched.

What stays is mapped by the loader at the addresses where it always was; nothing is removed or
relocated. A small library, the pager, which the packed one needs (DT_NEEDED), answers the faults.
The result is read back and compared with the original, always; see `rebuild`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf.data import compress_data, data_problem, data_ranges
from layerpack.elf.drops import NO_DROPS, Drops
from layerpack.elf.dynamic import Image
from layerpack.elf.format import ElfError
from layerpack.elf.hot import gathered, mapped
from layerpack.elf.index import PAGE, Range, pages_of
from layerpack.elf.ranges import choose, validated
from layerpack.elf.rewrite import Original, plan, read_original, reduced, search_path, write
from layerpack.elf.strip import Refusal
from layerpack.elf.windows import compress, cut

#: Part of a cache's key: another number means that other bytes may come out.
PACK_VERSION: Final = 7
#: Fewer pages are not worth a process's faults.
_FEWEST_PAGES: Final = 16
#: A packed library of this share of the original's bytes, or more, is not worth it either.
_LARGEST_SHARE: Final = 0.9
_LARGE: Final = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How to pack.

    `level` is zstd's; 19 would save a further 0.3 % of what 16 leaves, in twice the time.
    `window_size`, in bytes, is what is decompressed at a time; None: by the library's size (see
    `_window_size`). `hot` are numbers of pages that lie together, in front; numbers go through the
    pageable ranges. `mapped` leaves them as they are, for the loader to map, as far as that does
    not take too many segments. `pager_runpath` is where the pager lies, from the library's
    folder (`../../lib`); None leaves that to LD_LIBRARY_PATH. `inherits_rpath` tells that the
    library finds others by the DT_RPATH of one that loads it. `threads` compress. `ranges` replaces
    the choice of ranges, for a library that was rewritten and so lost its sections; what must stay
    is left out of them. `drops` is the code to remove; the pages' numbers and the hash
    that a trace names are those of the library with it. `data`: whether read-only data is
    compressed too, to be decompressed when the library is loaded.
    """

    level: int = 16
    window_size: int | None = None
    hot: tuple[int, ...] = ()
    mapped: bool = False
    pager_runpath: str | None = None
    inherits_rpath: bool = False
    threads: int = 1
    ranges: tuple[Range, ...] | None = None
    drops: Drops = NO_DROPS
    data: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult:
    """What was written. Bytes: `mapped_bytes` are loaded as they are; `paged_bytes` are the
    pageable part, and `data_bytes` data that is decompressed when the library is loaded, both
    uncompressed, and `compressed_bytes` what they take; `original_bytes` and
    `packed_bytes` are whole files; `dropped_bytes` of code were left out. `renamed_imports` are
    those that the pager answers. `data_problem` tells why data that was to be compressed stays as
    it is, if it does."""

    mapped_bytes: int
    paged_bytes: int
    compressed_bytes: int
    original_bytes: int
    packed_bytes: int
    pages: int
    hot_pages: int
    windows: int
    dropped_bytes: int
    data_bytes: int
    renamed_imports: tuple[str, ...]
    data_problem: str = ""


def pack(source: Path, destination: Path, options: PackOptions) -> PackResult | Refusal:
    """Write the packed `source` to `destination` (aside, then renamed; it may be `source`).

    A library that cannot be packed, or would not gain, is a Refusal, and nothing is written.
    Raises OSError, and ValueError for options that make no sense.
    """
    if options.window_size is not None and (options.window_size <= 0 or options.window_size % PAGE):
        raise ValueError(f"a window of {options.window_size} bytes is not a number of pages")
    if len(set(options.hot)) != len(options.hot):
        raise ValueError("a page is hot twice")
    try:
        return _packed(reduced(read_original(source), options.drops), destination, options)
    except ElfError as error:
        return Refusal(reason=error.reason)


def _window_size(pages: int) -> int:
    """Bytes of a window for a library with so many pages to page.

    128 kB take 5 to 8 % less than 64 kB (OpenBLAS, libmxnet), and more memory where few pages of
    many windows are touched. Of the largest libraries so little runs that 256 kB are worth it:
    4 % of libtorch_cpu.
    """
    return 262144 if pages * PAGE >= _LARGE else 131072


def _packed(original: Original, destination: Path, options: PackOptions) -> PackResult | Refusal:
    view, library, section = original.view, original.library, original.section
    if options.ranges is None:
        ranges = choose(view, library, section)
    else:
        ranges = validated(library, section, options.ranges)
    hot = options.hot
    if options.mapped:
        ranges, hot = mapped(ranges, hot)
    pages = pages_of(ranges)
    data = data_ranges(view, library, section, ranges) if options.data else ()
    if pages + pages_of(data) < _FEWEST_PAGES:
        why = ", as its code runs before the pager does" if section.calls_early else ""
        return Refusal(reason=f"it has only {pages} pages that can be paged{why}")
    window_pages = (options.window_size or _window_size(pages)) // PAGE
    image = Image(view, library.loads)
    compressed = compress(
        image,
        library.machine,
        ranges,
        list(cut(ranges, gathered(ranges, hot), window_pages)),
        level=options.level,
        threads=options.threads,
    )
    blocks = compress_data(image, data, level=options.level, threads=options.threads)
    compressed = compressed.with_blocks(*blocks)
    search = search_path(library, options.pager_runpath, inherits_rpath=options.inherits_rpath)
    planned = plan(original, ranges, compressed, search)
    if planned.size >= _LARGEST_SHARE * len(view):
        return Refusal(reason="it would hardly become smaller")
    write(planned, original, destination)
    return PackResult(
        mapped_bytes=sum(piece.segment.filesz for piece in planned.layout.pieces),
        paged_bytes=pages * PAGE,
        compressed_bytes=compressed.size,
        original_bytes=len(view),
        packed_bytes=planned.size,
        pages=pages,
        hot_pages=len(options.hot),
        windows=len(compressed.windows),
        dropped_bytes=options.drops.size,
        data_bytes=pages_of(data) * PAGE,
        renamed_imports=tuple(one.name for one in section.imports),
        data_problem=(options.data and data_problem(library, section)) or "",
    )
