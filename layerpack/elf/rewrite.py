"""Rewrite a library so that it needs the pager: what packing and guarding one have in common.

The library's bytes stay at their addresses, whatever of them is paged. Its dynamic section names
the pager, by which its imports of signal functions are answered from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from layerpack.elf import format as elf
from layerpack.elf import layout, rebuild
from layerpack.elf.data import extents, starter
from layerpack.elf.drop_table import drop_table
from layerpack.elf.drops import NO_DROPS, Drops, overwritten
from layerpack.elf.dynamic import PAGER, Dynamic, Image, read_dynamic, rewritten
from layerpack.elf.format import ElfError
from layerpack.elf.index import Index, Range, index_size, write_index
from layerpack.elf.read import SharedObject, map_file, read
from layerpack.elf.windows import Compressed
from layerpack.units import sha256_file, write_aside

#: Part of the keys of what is packed and guarded: another number means that other bytes come out.
REWRITE_VERSION: Final = 3
# Names are found by a 32-bit distance from the string table.
_FURTHEST_NAME: Final = 1 << 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A library that can be rewritten; `view` are its bytes, without what `drops` leaves out of
    the file at `path`; `table` describes that to the pager."""

    path: Path
    view: memoryview
    library: SharedObject
    section: Dynamic
    drops: Drops = NO_DROPS
    table: bytes = b""


def read_original(path: Path) -> Original:
    """Read a library. Raises ElfError for one that must stay as it is, and OSError."""
    view = map_file(path)
    library = read(view)
    section = read_dynamic(view, library)
    problem = _problem(view, library, section)
    if problem is not None:
        raise ElfError(problem)
    return Original(path=path, view=view, library=library, section=section)


def reduced(original: Original, drops: Drops) -> Original:
    """The library without `drops`. Raises ElfError where they cannot be left out."""
    if not drops:
        return original
    library = original.library
    image = Image(original.view, library.loads)
    probed = b"".join(bytes(image.bytes_at(probe, 1)) for probe in drops.probes)
    data = bytearray(original.view)
    overwritten(data, image, drops, library.machine)
    view = memoryview(bytes(data))
    return replace(
        original,
        view=view,
        # A patch may lie in what the loader reads.
        section=read_dynamic(view, library),
        drops=drops,
        table=drop_table(drops, probed),
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


def search_path(
    library: SharedObject, folder: str | None, *, inherits_rpath: bool
) -> tuple[int, str] | None:
    """The library's new DT_RUNPATH or DT_RPATH, None if it keeps what it has.

    A new one is a DT_RUNPATH, which is searched after LD_LIBRARY_PATH, and for this library's
    needs alone. But it turns off what the library inherits from the DT_RPATHs of those that load
    it; one that needs them gets a DT_RPATH.
    """
    if folder is None:
        return None
    entry = f"$ORIGIN/{folder}"
    if library.runpath is not None:
        return elf.DT_RUNPATH, f"{library.runpath}:{entry}" if library.runpath else entry
    if library.rpath is not None:
        return elf.DT_RPATH, f"{library.rpath}:{entry}" if library.rpath else entry
    return elf.DT_RPATH if inherits_rpath else elf.DT_RUNPATH, entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The new file: `changes` (address, bytes) of what stays, the new dynamic section, the tail
    the starter's code, up to the frames, and the frames; `size` is that of the file."""

    layout: layout.Layout
    header: bytes
    changes: tuple[tuple[int, bytes], ...]
    dynamic: bytes
    starter: bytes
    tail: bytes
    frames: tuple[bytes, ...]
    size: int


def plan(
    original: Original,
    ranges: tuple[Range, ...],
    compressed: Compressed,
    search: tuple[int, str] | None,
) -> Plan:
    """Where everything goes, the `ranges` but for their compressed form, and the new search path.

    Raises ElfError where the library cannot be taken apart.
    """
    library, section = original.library, original.section
    blocks = compressed.blocks
    first = section.value(elf.DT_INIT)

    def start(at: int) -> bytes:
        return starter(library.machine, at, blocks[0].vaddr, first) if blocks else b""

    index = Index(
        source=bytes.fromhex(sha256_file(original.path)),
        name=original.path.name.encode("utf-8", "replace").decode(),
        frames=0,
        frames_size=compressed.size,
        filter=compressed.filter,
        filter_bits=compressed.filter_bits,
        ranges=ranges,
        windows=compressed.windows,
        drops=original.table,
        blocks=blocks,
    )

    def dynamic(needed: int, path: int, started: int) -> bytes:
        found = (search[0], path) if search else None
        return rewritten(section, needed=needed, path=found, start=started if blocks else None)

    # No size depends on the offsets and addresses that are not known yet.
    size, code_size = len(dynamic(0, 0, 0)), len(start(0))
    absent = tuple(sorted((*ranges, *extents(blocks)), key=lambda one: one.vaddr))
    places = layout.plan(library, absent, size, code_size)
    if blocks:
        index = replace(index, starter=places.starter_vaddr)

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
        starter_size=code_size,
        tail_size=frames_at + compressed.size,
        index=(index_at, len(written)),
    )
    for at, data in ((0, headers), (places.headers, strings), (index_at, written)):
        tail[at : at + len(data)] = data
    return Plan(
        layout=places,
        header=layout.elf_header(original.view, places),
        changes=tuple(_renamed(section, offsets[2:])),
        dynamic=dynamic(offsets[0], offsets[1], places.starter_vaddr),
        starter=start(places.starter_vaddr),
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


def write(plan: Plan, original: Original, destination: Path) -> None:
    """Write `destination`, aside and then renamed (it may be the original).

    Raises ElfError, and leaves the destination alone, where the result would not be the same.
    """
    with write_aside(destination) as aside:
        with aside.open("wb") as out:
            _write(out, original.view, plan)
        problem = rebuild.verify(original.path, aside, original.drops)
        if problem is not None:
            raise ElfError(f"it would not be the same: {problem}")


def _write(out: BinaryIO, view: memoryview, plan: Plan) -> None:
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
        (plan.layout.starter_offset, plan.starter),
        (plan.layout.tail_offset, plan.tail),
    ):
        out.seek(offset)
        out.write(data)
    for frame in plan.frames:
        out.write(frame)


def _aligned(value: int, to: int) -> int:
    return -(-value // to) * to
