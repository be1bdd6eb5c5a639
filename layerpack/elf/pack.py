"""Pack a shared library: its code is stored compressed in it, and paged in when it is touched.

What stays is mapped by the loader at the addresses where it always was; nothing is removed or
relocated. A small library, the pager, which the packed one needs (DT_NEEDED), answers the faults.
The result is read back and compared with the original, always; see `rebuild`.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from layerpack.elf import dynamic, index, layout, ranges, rebuild
from layerpack.elf import filter as branches
from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.index import PAGE, Index, Range, Run, Window
from layerpack.elf.read import SharedObject, read
from layerpack.elf.strip import Refusal
from layerpack.units import write_aside

#: Part of a cache's key: another number means that other bytes may come out.
PACK_VERSION: Final = 1
#: Fewer pages are not worth a process's faults.
_FEWEST_PAGES: Final = 16
#: A packed library of this share of the original's bytes, or more, is not worth it either.
_LARGEST_SHARE: Final = 0.9
_FURTHEST_NAME: Final = 1 << 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How to pack.

    `level` is zstd's; `window_size`, in bytes, what is decompressed at a time. `hot` are numbers
    of pages that lie together, in this order, in front; numbers go through the pageable ranges.
    `pager_runpath` is where the pager lies, from the library's folder (`../../lib`); None leaves
    that to LD_LIBRARY_PATH. `threads` compress. `ranges` replaces the choice of ranges, for a
    library that was rewritten and so lost its sections.
    """

    level: int = 19
    window_size: int = 65536
    hot: tuple[int, ...] = ()
    pager_runpath: str | None = None
    threads: int = 1
    ranges: tuple[Range, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult:
    """Bytes: `mapped` is loaded as it is, `paged` is the pageable part, uncompressed, and
    `compressed` what it takes; `original` and `packed` are whole files. Then counts."""

    mapped_bytes: int
    paged_bytes: int
    compressed_bytes: int
    original_bytes: int
    packed_bytes: int
    pages: int
    hot_pages: int
    windows: int
    renamed_imports: tuple[str, ...]


def pack(source: Path, destination: Path, options: PackOptions) -> PackResult | Refusal:
    """Write the packed `source` to `destination` (written aside, then renamed).

    A library that cannot be packed, or would not gain, is a Refusal, and nothing is written.
    Raises OSError, and ValueError for options that make no sense.
    """
    _check_options(options)
    if source.stat().st_size < elf.HEADER.size:
        return Refusal(reason="it is too short for an ELF header")
    try:
        with source.open("rb") as stream:
            # Not closed here: the frames of a raised ElfError may still look into it.
            view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        return _packed(view, source, destination, options)
    except ElfError as error:
        return Refusal(reason=error.reason)


def _packed(
    view: memoryview, source: Path, destination: Path, options: PackOptions
) -> PackResult | Refusal:
    library = read(view)
    section = dynamic.read_dynamic(view, library)
    problem = _problem(view, library, section)
    if problem is not None:
        return Refusal(reason=problem)
    if options.ranges is None:
        chosen = ranges.choose(view, library, section)
    else:
        chosen = ranges.validated(library, section, options.ranges)
    pages = index.pages_of(chosen)
    if pages < _FEWEST_PAGES:
        why = ", as its code runs before the pager does" if section.calls_early else ""
        return Refusal(reason=f"it has only {pages} pages that can be paged{why}")
    plan = _plan(view, library, section, chosen, source.name, options)
    if plan.size >= _LARGEST_SHARE * len(view):
        return Refusal(reason="it would hardly become smaller")
    with write_aside(destination) as aside:
        with aside.open("wb") as out:
            _write(out, view, plan)
        problem = rebuild.verify(source, aside)
        if problem is not None:
            raise _NotTheSameError(f"what was packed is not the same library: {problem}")
    return PackResult(
        mapped_bytes=sum(piece.segment.filesz for piece in plan.layout.pieces),
        paged_bytes=pages * PAGE,
        compressed_bytes=sum(len(frame) for frame in plan.frames),
        original_bytes=len(view),
        packed_bytes=plan.size,
        pages=pages,
        hot_pages=len(options.hot),
        windows=plan.windows,
        renamed_imports=tuple(one.name for one in section.imports),
    )


class _NotTheSameError(ElfError):
    """Leaves `write_aside` so that nothing is written."""


def _check_options(options: PackOptions) -> None:
    if options.window_size <= 0 or options.window_size % PAGE:
        raise ValueError(f"a window of {options.window_size} bytes is not a number of pages")
    if len(set(options.hot)) != len(options.hot):
        raise ValueError("a page is hot twice")


def _problem(view: memoryview, library: SharedObject, section: dynamic.Dynamic) -> str | None:
    """Why a library must stay as it is, None if it can be packed."""
    types = {segment.type for segment in library.segments}
    flags = section.value(elf.DT_FLAGS_1) or 0
    if elf.PT_LAYERPACK in types:
        return "it is packed already"
    if library.kind != "ET_DYN" or elf.PT_INTERP in types or flags & elf.DF_1_PIE:
        return "it is a program"
    if library.has_text_relocations:
        return "it has text relocations"
    if flags & elf.DF_1_INITFIRST:
        return "it is initialised before the pager can be"
    if library.soname == dynamic.PAGER:
        return "it is the pager"
    described = [segment.offset + segment.filesz for segment in library.segments]
    described += [s.offset + s.size for s in library.sections if s.type != elf.SHT_NOBITS]
    if library.sections:
        end = library.section_headers + len(library.sections) * elf.SECTION_HEADER.size
        described.append(end)
    if any(bytes(view[max(described) :]).strip(b"\0")):
        return "it carries data after its end, which it may read"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """The new file: `changes` (address, bytes) of what stays, the new dynamic section, the tail
    up to the frames, and the frames; `size` is that of the file."""

    layout: layout.Layout
    header: bytes
    changes: tuple[tuple[int, bytes], ...]
    dynamic: bytes
    tail: bytes
    frames: tuple[bytes, ...]
    windows: int

    @property
    def size(self) -> int:
        frames = sum(len(frame) for frame in self.frames)
        return self.layout.tail_offset + len(self.tail) + frames


def _plan(
    view: memoryview,
    library: SharedObject,
    section: dynamic.Dynamic,
    chosen: tuple[Range, ...],
    name: str,
    options: PackOptions,
) -> _Plan:
    strings = _Strings()
    needed = strings.add(dynamic.PAGER)
    path = _search_path(library, options.pager_runpath)
    path_at = strings.add(path[1]) if path else 0
    names = [strings.add(one.redirected) for one in section.imports]
    table = section.value(elf.DT_STRTAB)
    if table is None:
        raise ElfError("it has no string table")

    # The section's size does not depend on the offsets in it.
    size = len(dynamic.rewritten(section, needed=0, path=(path[0], 0) if path else None))
    places = layout.plan(library, chosen, size)
    base = places.tail_vaddr + places.headers - table
    if not 0 < base < _FURTHEST_NAME - len(strings.data):
        raise ElfError("it is too large for its string table")

    built, frames = _compressed(view, library, chosen, name, options)
    index_at = _aligned(places.headers + len(strings.data), 8)
    tail_head = _aligned(index_at + len(index.write_index(built)), 16)
    total = sum(len(frame) for frame in frames)
    built = replace(built, frames=places.tail_vaddr + tail_head, frames_size=total)
    packed_index = index.write_index(built)
    headers = layout.program_headers(
        library,
        places,
        dynamic_size=size,
        tail_size=tail_head + total,
        index=(index_at, len(packed_index)),
    )
    tail = bytearray(tail_head)
    for at, data in ((0, headers), (places.headers, strings.data), (index_at, packed_index)):
        tail[at : at + len(data)] = data
    return _Plan(
        layout=places,
        header=layout.elf_header(view, places),
        changes=tuple(_renamed(section, [base + at for at in names])),
        dynamic=dynamic.rewritten(
            section, needed=base + needed, path=(path[0], base + path_at) if path else None
        ),
        tail=bytes(tail),
        frames=tuple(frames),
        windows=len(built.windows),
    )


class _Strings:
    """The new strings, which the loader finds by their distance from the library's own table."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def _search_path(library: SharedObject, folder: str | None) -> tuple[int, str] | None:
    """The library's new DT_RUNPATH or DT_RPATH, None if it keeps what it has.

    A new DT_RUNPATH would turn off what a library inherits from the DT_RPATHs of those that
    load it, so that is only added to.
    """
    if folder is None:
        return None
    entry = f"$ORIGIN/{folder}"
    if library.runpath is not None:
        return elf.DT_RUNPATH, f"{library.runpath}:{entry}"
    if library.rpath is not None:
        return elf.DT_RPATH, f"{library.rpath}:{entry}"
    return elf.DT_RPATH, entry


def _renamed(section: dynamic.Dynamic, names: list[int]) -> Iterator[tuple[int, bytes]]:
    """The imports' new names, and that they have no version."""
    symbols, versions = section.value(elf.DT_SYMTAB), section.value(elf.DT_VERSYM)
    for one, name in zip(section.imports, names, strict=True):
        if symbols is not None:
            yield symbols + one.symbol * elf.SYMBOL.size, name.to_bytes(4, "little")
        if versions is not None:
            yield versions + 2 * one.symbol, elf.VER_NDX_GLOBAL.to_bytes(2, "little")


def _compressed(
    view: memoryview,
    library: SharedObject,
    chosen: tuple[Range, ...],
    name: str,
    options: PackOptions,
) -> tuple[Index, list[bytes]]:
    """The index (but for the frames' address) and the frames, in the order of the windows."""
    kind = branches.FILTERS[library.machine]
    bits = branches.bits_for(max((r.end for r in chosen if r.flags & elf.PF_X), default=0))
    if bits is None:
        kind, bits = branches.NONE, 0
    image = dynamic.Image(view, library.loads)
    places = list(_numbered(chosen))
    local = threading.local()

    def compress(runs: tuple[Run, ...]) -> tuple[bytes, int]:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=options.level, write_checksum=True)
        plain, filtered = [], []
        for run in runs:
            first, one = next(p for p in reversed(places) if p[0] <= run.page)
            vaddr = one.vaddr + (run.page - first) * PAGE
            data = bytes(image.bytes_at(vaddr, run.pages * PAGE))
            plain.append(data)
            code = one.flags & elf.PF_X
            filtered.append(branches.encode(data, vaddr, kind, bits) if code else data)
        frame: bytes = local.compressor.compress(b"".join(filtered))
        return frame, index.checksum(b"".join(plain))

    windows: list[Window] = []
    frames: list[bytes] = []
    offsets: dict[bytes, int] = {}
    end = 0
    cuts = list(cut(chosen, options.hot, options.window_size // PAGE))
    with ThreadPoolExecutor(max_workers=options.threads) as pool:
        for runs, (frame, check) in zip(cuts, pool.map(compress, cuts), strict=True):
            # Equal windows (zeroes, mostly) are stored once.
            if frame not in offsets:
                offsets[frame] = end
                frames.append(frame)
                end += len(frame)
            windows.append(
                Window(runs=runs, offset=offsets[frame], size=len(frame), checksum=check)
            )
    built = Index(
        source=hashlib.sha256(view).digest(),
        name=name,
        frames=0,
        frames_size=0,
        filter=kind,
        filter_bits=bits,
        ranges=chosen,
        windows=tuple(windows),
    )
    return built, frames


def cut(
    chosen: tuple[Range, ...], hot: tuple[int, ...], window_pages: int
) -> Iterator[tuple[Run, ...]]:
    """Cut ranges into windows of at most `window_pages` pages: the hot ones, then the rest.

    Hot windows hold hot pages in their order, whatever range they are in; cold ones the other
    pages of one range. Raises ValueError where a hot page does not exist.
    """
    count = index.pages_of(chosen)
    if any(not 0 <= page < count for page in hot):
        raise ValueError(f"a hot page is not among the {count} pages")
    places = list(_numbered(chosen))
    starts = {first for first, _ in places}
    for at in range(0, len(hot), window_pages):
        yield _runs(sorted(hot[at : at + window_pages]), starts)
    taken = set(hot)
    for first, one in places:
        pages = [page for page in range(first, first + one.pages) if page not in taken]
        for at in range(0, len(pages), window_pages):
            yield _runs(pages[at : at + window_pages], starts)


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


def _numbered(chosen: tuple[Range, ...]) -> Iterator[tuple[int, Range]]:
    """Ranges with the numbers of their first pages."""
    first = 0
    for one in chosen:
        yield first, one
        first += one.pages


def _write(out: BinaryIO, view: memoryview, plan: _Plan) -> None:
    for piece in plan.layout.pieces:
        out.seek(piece.segment.offset)
        out.write(view[piece.source : piece.source + piece.segment.filesz])
    for vaddr, data in plan.changes:
        offset = plan.layout.offset_of(vaddr)
        if offset is None:
            raise ElfError("its symbols would be absent")
        out.seek(offset)
        out.write(data)
    for offset, data in (
        (0, plan.header),
        (plan.layout.dynamic_offset, plan.dynamic),
        (plan.layout.tail_offset, plan.tail),
    ):
        out.seek(offset)
        out.write(data)
    for frame in plan.frames:
        out.write(frame)


def _aligned(value: int, to: int) -> int:
    return -(-value // to) * to
