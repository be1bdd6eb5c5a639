"""Pack a shared library: its code is stored compressed in it, and paged in when it is touched.

What stays is mapped by the loader at the addresses where it always was; nothing is removed or
relocated. A small library, the pager, which the packed one needs (DT_NEEDED), answers the faults.
The result is read back and compared with the original, always; see `rebuild`.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from layerpack.elf import format as elf
from layerpack.elf import layout, rebuild
from layerpack.elf.dynamic import PAGER, Dynamic, Image, read_dynamic, rewritten
from layerpack.elf.format import ElfError
from layerpack.elf.index import PAGE, Index, Range, index_size, pages_of, write_index
from layerpack.elf.ranges import choose, validated
from layerpack.elf.read import SharedObject, read
from layerpack.elf.strip import Refusal
from layerpack.elf.windows import Compressed, compress, cut
from layerpack.units import write_aside

#: Part of a cache's key: another number means that other bytes may come out.
PACK_VERSION: Final = 2
#: Fewer pages are not worth a process's faults.
_FEWEST_PAGES: Final = 16
#: A packed library of this share of the original's bytes, or more, is not worth it either.
_LARGEST_SHARE: Final = 0.9
_LARGE: Final = 1 << 28
# Names are found by a 32-bit distance from the string table.
_FURTHEST_NAME: Final = 1 << 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How to pack.

    `level` is zstd's; 19 would save a further 0.3 % of what 16 leaves, in twice the time.
    `window_size`, in bytes, is what is decompressed at a time; None: by the library's size (see
    `_window_size`). `hot` are numbers of pages that lie together, in this order, in front; numbers
    go through the pageable ranges. `pager_runpath` is where the pager lies, from the library's
    folder (`../../lib`); None leaves that to LD_LIBRARY_PATH. `threads` compress. `ranges` replaces
    the choice of ranges, for a library that was rewritten and so lost its sections; what must stay
    is left out of them.
    """

    level: int = 16
    window_size: int | None = None
    hot: tuple[int, ...] = ()
    pager_runpath: str | None = None
    threads: int = 1
    ranges: tuple[Range, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult:
    """What was written. Bytes: `mapped_bytes` are loaded as they are; `paged_bytes` are the
    pageable part, uncompressed, and `compressed_bytes` what it takes; `original_bytes` and
    `packed_bytes` are whole files. `renamed_imports` are those that the pager answers."""

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
    """Write the packed `source` to `destination` (aside, then renamed; it may be `source`).

    A library that cannot be packed, or would not gain, is a Refusal, and nothing is written.
    Raises OSError, and ValueError for options that make no sense.
    """
    if options.window_size is not None and (options.window_size <= 0 or options.window_size % PAGE):
        raise ValueError(f"a window of {options.window_size} bytes is not a number of pages")
    if len(set(options.hot)) != len(options.hot):
        raise ValueError("a page is hot twice")
    try:
        with source.open("rb") as stream:
            if source.stat().st_size < elf.HEADER.size:
                return Refusal(reason="it is too short for an ELF header")
            # Not closed here: the frames of a raised ElfError may still look into it.
            view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        return _packed(view, source, destination, options)
    except ElfError as error:
        return Refusal(reason=error.reason)


def _window_size(pages: int) -> int:
    """Bytes of a window for a library with so many pages to page.

    128 kB take 5 to 8 % less than 64 kB (OpenBLAS, libmxnet), and more memory where few pages of
    many windows are touched. Of the largest libraries so little runs that 256 kB are worth it:
    4 % of libtorch_cpu.
    """
    return 262144 if pages * PAGE >= _LARGE else 131072


def _packed(
    view: memoryview, source: Path, destination: Path, options: PackOptions
) -> PackResult | Refusal:
    library = read(view)
    section = read_dynamic(view, library)
    problem = _problem(view, library, section)
    if problem is not None:
        return Refusal(reason=problem)
    if options.ranges is None:
        ranges = choose(view, library, section)
    else:
        ranges = validated(library, section, options.ranges)
    pages = pages_of(ranges)
    if pages < _FEWEST_PAGES:
        why = ", as its code runs before the pager does" if section.calls_early else ""
        return Refusal(reason=f"it has only {pages} pages that can be paged{why}")
    compressed = compress(
        Image(view, library.loads),
        library.machine,
        ranges,
        list(cut(ranges, options.hot, (options.window_size or _window_size(pages)) // PAGE)),
        level=options.level,
        threads=options.threads,
    )
    index = Index(
        source=hashlib.sha256(view).digest(),
        name=source.name.encode("utf-8", "replace").decode(),
        frames=0,
        frames_size=compressed.size,
        filter=compressed.filter,
        filter_bits=compressed.filter_bits,
        ranges=ranges,
        windows=compressed.windows,
    )
    search = _search_path(library, options.pager_runpath)
    plan = _plan(view, library, section, index, search, compressed)
    if plan.size >= _LARGEST_SHARE * len(view):
        return Refusal(reason="it would hardly become smaller")
    with write_aside(destination) as aside:
        with aside.open("wb") as out:
            _write(out, view, plan)
        problem = rebuild.verify(source, aside)
        if problem is not None:
            # Raised, so that nothing takes the destination's place.
            raise ElfError(f"it would not be the same: {problem}")
    return PackResult(
        mapped_bytes=sum(piece.segment.filesz for piece in plan.layout.pieces),
        paged_bytes=pages * PAGE,
        compressed_bytes=compressed.size,
        original_bytes=len(view),
        packed_bytes=plan.size,
        pages=pages,
        hot_pages=len(options.hot),
        windows=len(compressed.windows),
        renamed_imports=tuple(one.name for one in section.imports),
    )


def _problem(view: memoryview, library: SharedObject, section: Dynamic) -> str | None:
    """Why a library must stay as it is, None if it can be packed."""
    types = {segment.type for segment in library.segments}
    flags = section.value(elf.DT_FLAGS_1) or 0
    is_program = library.kind != "ET_DYN" or elf.PT_INTERP in types or flags & elf.DF_1_PIE
    problems = (
        (elf.PT_LAYERPACK in types, "it is packed already"),
        (is_program, "it is a program"),
        (library.has_text_relocations, "it has text relocations"),
        (flags & elf.DF_1_INITFIRST, "it is initialised before the pager can be"),
        (library.soname == PAGER, "it is the pager"),
        (section.value(elf.DT_STRTAB) is None, "it has no string table"),
        (_appended(view, library), "it carries data after its end, which it may read"),
    )
    return next((reason for applies, reason in problems if applies), None)


def _appended(view: memoryview, library: SharedObject) -> bool:
    """Whether bytes follow all that the headers describe (self-extracting files)."""
    described = [segment.offset + segment.filesz for segment in library.segments]
    described += [s.offset + s.size for s in library.sections if s.type != elf.SHT_NOBITS]
    if library.sections:
        end = library.section_headers + len(library.sections) * elf.SECTION_HEADER.size
        described.append(end)
    return any(bytes(view[max(described) :]).strip(b"\0"))


def _search_path(library: SharedObject, folder: str | None) -> tuple[int, str] | None:
    """The library's new DT_RUNPATH or DT_RPATH, None if it keeps what it has.

    A new DT_RUNPATH would turn off what a library inherits from the DT_RPATHs of those that
    load it, so one is only added to.
    """
    if folder is None:
        return None
    entry = f"$ORIGIN/{folder}"
    if library.runpath is not None:
        return elf.DT_RUNPATH, f"{library.runpath}:{entry}" if library.runpath else entry
    if library.rpath:
        return elf.DT_RPATH, f"{library.rpath}:{entry}"
    return elf.DT_RPATH, entry


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
    size: int


def _plan(  # noqa: PLR0917
    view: memoryview,
    library: SharedObject,
    section: Dynamic,
    index: Index,
    search: tuple[int, str] | None,
    compressed: Compressed,
) -> _Plan:
    # The section's size does not depend on the offsets in it.
    size = len(rewritten(section, needed=0, path=(search[0], 0) if search else None))
    places = layout.plan(library, index.ranges, size)

    # New strings are found by their distance from the library's own table, whose size the loader
    # does not check.
    base = places.tail_vaddr + places.headers - (section.value(elf.DT_STRTAB) or 0)
    strings = b""
    offsets = []
    for text in (PAGER, search[1] if search else "", *(one.redirected for one in section.imports)):
        offsets.append(base + len(strings))
        strings += text.encode() + b"\0"
    if not 0 < base < _FURTHEST_NAME - len(strings):
        raise ElfError("it is too large for its string table")

    index_at = _aligned(places.headers + len(strings), 8)
    frames_at = _aligned(index_at + index_size(index), 16)
    tail = bytearray(frames_at)
    written = write_index(index, frames=places.tail_vaddr + frames_at)
    headers = layout.program_headers(
        library,
        places,
        dynamic_size=size,
        tail_size=frames_at + compressed.size,
        index=(index_at, len(written)),
    )
    for at, data in ((0, headers), (places.headers, strings), (index_at, written)):
        tail[at : at + len(data)] = data
    return _Plan(
        layout=places,
        header=layout.elf_header(view, places),
        changes=tuple(_renamed(section, offsets[2:])),
        dynamic=rewritten(
            section, needed=offsets[0], path=(search[0], offsets[1]) if search else None
        ),
        tail=bytes(tail),
        frames=compressed.frames,
        size=places.tail_offset + frames_at + compressed.size,
    )


def _renamed(section: Dynamic, names: list[int]) -> Iterator[tuple[int, bytes]]:
    """The imports' new names, and that they have no version."""
    symbols, versions = section.value(elf.DT_SYMTAB), section.value(elf.DT_VERSYM)
    for one, name in zip(section.imports, names, strict=True):
        if symbols is not None:
            yield symbols + one.symbol * elf.SYMBOL.size, name.to_bytes(4, "little")
        if versions is not None:
            yield versions + 2 * one.symbol, elf.VER_NDX_GLOBAL.to_bytes(2, "little")


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
