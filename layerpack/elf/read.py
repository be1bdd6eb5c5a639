"""Read shared libraries as the dynamic loader does: by their program headers.

Section headers may be absent or wrong in a library that works (strip and patchelf both leave such
files), so nothing but the list of sections is read from them, and that tolerantly.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError

# Far above any real library (libmxnet.so has 11 version entries); keeps hostile ones finite.
_MOST_DYNAMIC_ENTRIES = 1 << 16
_MOST_VERSIONS = 1 << 16
_LONGEST_STRING = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A program header: `type` (PT_*), `flags` (PF_*); offsets, addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int

    def holds(self, vaddr: int, size: int = 0) -> bool:
        """Whether the file backs `size` bytes of memory at `vaddr` through this segment."""
        return self.vaddr <= vaddr and vaddr + size <= self.vaddr + self.filesz


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section header, as the file claims it. Nothing that is loaded depends on it."""

    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionNeed:
    """The symbol versions (`GLIBC_2.17`) that a library asks of the library `file`."""

    file: str
    versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedObject:
    """What a shared library or executable says of itself.

    `kind` is ET_DYN for libraries and position-independent executables; `program_headers` and
    `section_headers` are the tables' file offsets; `rpath` and `runpath` are as written
    (`$ORIGIN/../x.libs`), None where absent; `sections` is empty where the table is unreadable.
    """

    machine: Literal["x86_64", "aarch64"]
    kind: Literal["ET_DYN", "ET_EXEC"]
    program_headers: int
    section_headers: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    soname: str | None
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    versions_needed: tuple[VersionNeed, ...]
    versions_defined: tuple[str, ...]
    has_text_relocations: bool

    @property
    def loads(self) -> tuple[Segment, ...]:
        """The segments that are mapped (PT_LOAD), by ascending address."""
        return tuple(segment for segment in self.segments if segment.type == elf.PT_LOAD)


def is_elf(path: Path) -> bool:
    """Whether a file begins as ELF files do."""
    with path.open("rb") as stream:
        return stream.read(4) == elf.MAGIC


def is_for(path: Path, machine: str) -> bool:
    """Whether a file says that it is a 64-bit little-endian one for `machine`, however it goes on.
    Raises OSError."""
    with path.open("rb") as stream:
        start = stream.read(elf.HEADER.size)
    if len(start) < elf.HEADER.size or start[4] != elf.ELFCLASS64 or start[5] != elf.ELFDATA2LSB:
        return False
    return elf.MACHINES.get(int.from_bytes(start[18:20], "little")) == machine


def read_file(path: Path) -> SharedObject:
    """`read` for a file. Raises ElfError, and OSError."""
    return read(map_file(path))


def map_file(path: Path) -> memoryview:
    """A file's bytes, mapped and not copied. Raises ElfError for one too short, and OSError."""
    with path.open("rb") as stream:
        # An empty file cannot be mapped.
        if path.stat().st_size < elf.HEADER.size:
            raise ElfError("it is too short for an ELF header")
        # Not closed: the frames of a raised ElfError may still look into it.
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def read(data: bytes | memoryview) -> SharedObject:
    """Read a 64-bit little-endian library or executable for x86_64 or aarch64.

    Raises ElfError for any other file and for a malformed one.
    """
    with memoryview(data) as view:
        header = _header(view)
        segments = _segments(view, header.program_headers, header.program_header_count)
        image = _Image(view, tuple(s for s in segments if s.type == elf.PT_LOAD))
        dynamic = _dynamic(image, segments)
        # The last of each tag counts, as in glibc.
        values = dict(dynamic)
        strings = values.get(elf.DT_STRTAB)

        def text(tag: int) -> str | None:
            return image.string(strings, values[tag]) if tag in values else None

        return SharedObject(
            machine=header.machine,
            kind=header.kind,
            program_headers=header.program_headers,
            section_headers=header.section_headers,
            segments=segments,
            sections=_sections(view, header),
            soname=text(elf.DT_SONAME),
            needed=tuple(
                image.string(strings, value) for tag, value in dynamic if tag == elf.DT_NEEDED
            ),
            rpath=text(elf.DT_RPATH),
            runpath=text(elf.DT_RUNPATH),
            versions_needed=_versions_needed(image, values),
            versions_defined=_versions_defined(image, values),
            has_text_relocations=elf.DT_TEXTREL in values
            or bool(values.get(elf.DT_FLAGS, 0) & elf.DF_TEXTREL),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    machine: Literal["x86_64", "aarch64"]
    kind: Literal["ET_DYN", "ET_EXEC"]
    program_headers: int
    program_header_count: int
    section_headers: int
    section_header_size: int
    section_header_count: int
    section_names: int


def _header(view: memoryview) -> _Header:
    if bytes(view[:4]) != elf.MAGIC:
        raise ElfError("it is not an ELF file")
    if len(view) < elf.HEADER.size:
        raise ElfError("it is too short for an ELF header")
    (ident, kind, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names) = (
        elf.HEADER.unpack_from(view)
    )
    if ident[4] != elf.ELFCLASS64:
        raise ElfError("it is not a 64-bit file")
    if ident[5] != elf.ELFDATA2LSB:
        raise ElfError("it is not little-endian")
    if machine not in elf.MACHINES:
        raise ElfError(f"it is for machine {machine}, neither x86_64 nor aarch64")
    if kind not in (elf.ET_DYN, elf.ET_EXEC):
        raise ElfError(f"it is neither a shared library nor an executable (type {kind})")
    if phentsize != elf.PROGRAM_HEADER.size or not 0 < phnum < elf.PN_XNUM:
        raise ElfError("its program headers have an unknown size or number")
    return _Header(
        machine="x86_64" if machine == elf.EM_X86_64 else "aarch64",
        kind="ET_DYN" if kind == elf.ET_DYN else "ET_EXEC",
        program_headers=phoff,
        program_header_count=phnum,
        section_headers=shoff,
        section_header_size=shentsize,
        section_header_count=shnum,
        section_names=names,
    )


def _segments(view: memoryview, start: int, count: int) -> tuple[Segment, ...]:
    end = start + count * elf.PROGRAM_HEADER.size
    if end > len(view):
        raise ElfError("its program headers lie outside the file")
    segments = []
    for fields in elf.PROGRAM_HEADER.iter_unpack(view[start:end]):
        kind, flags, offset, vaddr, _, filesz, memsz, align = fields
        if filesz and offset + filesz > len(view):
            raise ElfError("a segment lies outside the file")
        segments.append(
            Segment(
                type=kind,
                flags=flags,
                offset=offset,
                vaddr=vaddr,
                filesz=filesz,
                memsz=memsz,
                align=align,
            )
        )
    _check_loads([segment for segment in segments if segment.type == elf.PT_LOAD])
    return tuple(segments)


def _check_loads(loads: list[Segment]) -> None:
    """What the loader takes for granted of PT_LOAD (glibc, elf/dl-load.c)."""
    if not loads:
        raise ElfError("it has nothing to load")
    end = 0
    for load in loads:
        align = max(load.align, 1)
        if align & (align - 1) or (load.vaddr - load.offset) % align:
            raise ElfError("a segment's address and offset do not agree with its alignment")
        if load.filesz > load.memsz:
            raise ElfError("a segment is larger in the file than in memory")
        if load.vaddr < end:
            raise ElfError("its segments overlap or are out of order")
        end = load.vaddr + load.memsz
        if end >= 1 << 63:
            raise ElfError("a segment lies beyond the address space")


class _Image:
    """The memory that the file backs, by virtual address."""

    def __init__(self, view: memoryview, loads: tuple[Segment, ...]) -> None:
        self._view = view
        self._loads = loads

    def bytes_at(self, vaddr: int, size: int) -> memoryview:
        """`size` bytes at `vaddr`; fewer never."""
        for load in self._loads:
            if load.holds(vaddr, size):
                start = load.offset + vaddr - load.vaddr
                return self._view[start : start + size]
        raise ElfError(f"nothing is loaded at {vaddr:#x}")

    def string(self, table: int | None, offset: int) -> str:
        """The string at `offset` of the table at address `table`.

        The loader adds the two and reads on to the zero byte whatever DT_STRSZ says, and tools
        that add strings rely on it.
        """
        if table is None:
            raise ElfError("it has names but no string table")
        vaddr = table + offset
        load = next((load for load in self._loads if load.holds(vaddr, 1)), None)
        if load is None:
            raise ElfError(f"a name lies outside what is loaded, at {vaddr:#x}")
        start = load.offset + vaddr - load.vaddr
        end = min(load.offset + load.filesz, start + _LONGEST_STRING)
        for chunk in range(start, end, 256):
            zero = bytes(self._view[chunk : min(chunk + 256, end)]).find(b"\0")
            if zero >= 0:
                try:
                    return bytes(self._view[start : chunk + zero]).decode()
                except UnicodeDecodeError:
                    raise ElfError("a name is not UTF-8") from None
        raise ElfError("a name does not end")


def _dynamic(image: _Image, segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """The dynamic section's entries; empty for a static executable."""
    dynamic = next((s for s in segments if s.type == elf.PT_DYNAMIC), None)
    if dynamic is None:
        return []
    # The loader goes by address, not by p_offset.
    size = dynamic.filesz - dynamic.filesz % elf.DYNAMIC.size
    table = image.bytes_at(dynamic.vaddr, size)
    entries: list[tuple[int, int]] = []
    for tag, value in elf.DYNAMIC.iter_unpack(table):
        if tag == elf.DT_NULL:
            return entries
        if len(entries) == _MOST_DYNAMIC_ENTRIES:
            break
        entries.append((tag, value))
    raise ElfError("its dynamic section does not end")


def _chain(image: _Image, vaddr: int, count: int, size: int, next_at: int) -> Iterator[int]:
    """Addresses of a chain of records: `next_at` is where each keeps the step to its successor."""
    if count > _MOST_VERSIONS:
        raise ElfError("it has too many symbol versions")
    for position in range(count):
        record = image.bytes_at(vaddr, size)
        yield vaddr
        step = int.from_bytes(record[next_at : next_at + 4], "little")
        if step == 0:
            if position + 1 < count:
                raise ElfError("its symbol versions end early")
            return
        vaddr += step


class _Budget:
    """Ends a walk through records that point at one another, however they do it."""

    def __init__(self) -> None:
        self._left = _MOST_VERSIONS

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ElfError("it has too many symbol versions")


def _versions_needed(image: _Image, values: dict[int, int]) -> tuple[VersionNeed, ...]:
    if elf.DT_VERNEED not in values:
        return ()
    strings = values.get(elf.DT_STRTAB)
    budget = _Budget()
    needs = []
    first, count = values[elf.DT_VERNEED], values.get(elf.DT_VERNEEDNUM, 0)
    for vaddr in _chain(image, first, count, elf.VERNEED.size, next_at=12):
        _, versions, file, auxiliary, _ = elf.VERNEED.unpack(
            image.bytes_at(vaddr, elf.VERNEED.size)
        )
        names = []
        for entry in _chain(image, vaddr + auxiliary, versions, elf.VERNAUX.size, next_at=12):
            budget.spend()
            name = elf.VERNAUX.unpack(image.bytes_at(entry, elf.VERNAUX.size))[3]
            names.append(image.string(strings, name))
        needs.append(VersionNeed(file=image.string(strings, file), versions=tuple(names)))
    return tuple(needs)


def _versions_defined(image: _Image, values: dict[int, int]) -> tuple[str, ...]:
    if elf.DT_VERDEF not in values:
        return ()
    strings = values.get(elf.DT_STRTAB)
    names = []
    first, count = values[elf.DT_VERDEF], values.get(elf.DT_VERDEFNUM, 0)
    for vaddr in _chain(image, first, count, elf.VERDEF.size, next_at=16):
        _, flags, _, _, _, auxiliary, _ = elf.VERDEF.unpack(image.bytes_at(vaddr, elf.VERDEF.size))
        if flags & elf.VER_FLG_BASE:
            continue
        name, _ = elf.VERDAUX.unpack(image.bytes_at(vaddr + auxiliary, elf.VERDAUX.size))
        names.append(image.string(strings, name))
    return tuple(names)


def _sections(view: memoryview, header: _Header) -> tuple[Section, ...]:
    """The section headers, or nothing where their table cannot be read."""
    start = header.section_headers
    end = start + header.section_header_count * elf.SECTION_HEADER.size
    if header.section_header_size != elf.SECTION_HEADER.size or start == 0 or end > len(view):
        return ()
    rows = list(elf.SECTION_HEADER.iter_unpack(view[start:end]))
    names = b""
    if header.section_names < len(rows):
        offset, size = rows[header.section_names][4:6]
        names = bytes(view[offset : offset + size])
    sections = []
    for name, kind, flags, addr, offset, size, link, info, align, entsize in rows:
        sections.append(
            Section(
                name=names[name : max(names.find(b"\0", name), name)].decode("ascii", "replace"),
                type=kind,
                flags=flags,
                addr=addr,
                offset=offset,
                size=size,
                link=link,
                info=info,
                align=align,
                entsize=entsize,
            )
        )
    return tuple(sections)
