"""Remove from a library what is not loaded: symbol tables, debug information, comments.

binutils' `strip` lays a file out anew from its section headers, and so corrupts libraries whose
segments patchelf or auditwheel has moved to the file's end
(https://github.com/pypa/manylinux/issues/119, https://github.com/pypa/auditwheel/issues/716). Here
the program headers decide: every PT_LOAD keeps its addresses and bytes, and moves down in the
file by whole multiples of its alignment, to where the one before it ends. The result is read
back, and its memory image compared.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.read import Section, Segment, SharedObject, read
from layerpack.elf.verify import memory_image_equal

#: Part of a cache's key: another number means that other bytes may come out.
STRIP_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a file is left as it is; reads after its name."""

    reason: str


def strip_symbols(data: bytes | memoryview) -> bytes | Refusal:
    """The file without what no segment holds, or a reason why it must stay as it is.

    The file's virtual addresses and all it loads stay byte for byte (`memory_image_equal`).
    Section headers are kept for what is loaded, where they agree with the segments.
    """
    try:
        source = read(data)
        with memoryview(data) as view:
            stripped = _stripped(view, source)
            if isinstance(stripped, Refusal):
                return stripped
            if not memory_image_equal(view, stripped):
                return Refusal(reason="its memory image would differ")
            return stripped
    except ElfError as error:
        return Refusal(reason=error.reason)


def strip_file(path: Path) -> bytes | Refusal:
    """`strip_symbols` for a file, which is mapped and not copied. Raises OSError."""
    with path.open("rb") as stream:
        if path.stat().st_size == 0:
            return Refusal(reason="it is empty")
        return strip_symbols(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def _stripped(view: memoryview, source: SharedObject) -> bytes | Refusal:
    moves = _moves(source.loads)
    problem = _problem(view, source, moves)
    if problem is not None:
        return Refusal(reason=problem)
    segments = [_moved(segment, source.loads, moves) for segment in source.segments]
    end = max(s.offset + s.filesz for s in segments if s.type == elf.PT_LOAD)
    table = _section_table(_kept_sections(source), source.loads, moves, end)
    if end + len(table.data) >= len(view):
        return Refusal(reason="it has nothing to strip")

    # Joined once: a library may be half a gigabyte.
    patches = [(0, _header(view, source, moves, table))]
    patches.append((source.program_headers, _program_headers(view, source, segments)))
    return b"".join([*_pieces(view, moves, patches), table.data])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """A run of the file, `start` to `end`, that moves by `step` bytes (zero or negative)."""

    start: int
    end: int
    step: int

    def holds(self, start: int, end: int) -> bool:
        return self.start <= start and end <= self.end


def _moves(loads: tuple[Segment, ...]) -> list[_Move]:
    """Where the file's runs of loaded bytes go, by ascending offset.

    Segments that share bytes of the file are one run. A step is a multiple of the alignments in
    its run, so offsets stay congruent to addresses, which the loader demands. Neighbours that
    share a page go on doing so: what lies in the rest of a segment's last page is not part of it.
    """
    runs: list[tuple[int, int, int]] = []
    for load in sorted(loads, key=lambda load: (load.offset, load.filesz)):
        start, end, align = load.offset, load.offset + load.filesz, max(load.align, 1)
        if runs and start < runs[-1][1]:
            first, last, previous = runs.pop()
            start, end, align = first, max(last, end), max(previous, align)
        runs.append((start, end, align))
    moves = []
    cursor = 0
    for start, end, align in runs:
        step = min(0, -((start - cursor) // align * align))
        moves.append(_Move(start=start, end=end, step=step))
        cursor = max(cursor, end + step)
    return moves


def _problem(view: memoryview, source: SharedObject, moves: list[_Move]) -> str | None:
    """Why this file cannot be laid out anew, None if it can."""
    table_end = source.program_headers + len(source.segments) * elf.PROGRAM_HEADER.size
    first = moves[0]
    if source.program_headers < elf.HEADER.size:
        return "its program headers overlap its ELF header"
    if not (first.holds(0, elf.HEADER.size) and first.step == 0):
        return "its ELF header is not in its first segment"
    if not any(move.holds(source.program_headers, table_end) for move in moves):
        # glibc may take the table from a page that a segment shares and then clears.
        return "its program headers are in no segment"
    for segment in source.segments:
        if segment.filesz and _home(segment, source.loads) is None:
            return f"a segment of type {segment.type:#x} is not in what is loaded"
    if _appended(view, source):
        return "it carries data after its end, which it may read"
    return None


def _home(segment: Segment, loads: tuple[Segment, ...]) -> Segment | None:
    """The PT_LOAD that has a segment's bytes, at the address and offset that both agree on."""
    for load in loads:
        if load.holds(segment.vaddr, segment.filesz) and (
            segment.offset - load.offset == segment.vaddr - load.vaddr
        ):
            return load
    return None


def _appended(view: memoryview, source: SharedObject) -> bool:
    """Whether bytes follow all that the headers describe (self-extracting programs)."""
    described = [segment.offset + segment.filesz for segment in source.segments]
    described += [s.offset + s.size for s in source.sections if s.type != elf.SHT_NOBITS]
    if source.sections:
        described.append(source.section_headers + len(source.sections) * elf.SECTION_HEADER.size)
    return any(bytes(view[max(described) :]).strip(b"\0"))


def _moved(segment: Segment, loads: tuple[Segment, ...], moves: list[_Move]) -> Segment:
    """The program header for the new file; one without bytes and home (GNU_STACK) stays."""
    home = _home(segment, loads)
    return segment if home is None else replace(segment, offset=_new(segment.offset, home, moves))


def _new(offset: int, load: Segment, moves: list[_Move]) -> int:
    """Where an offset of `load` comes to lie."""
    move = next(move for move in moves if move.holds(load.offset, load.offset + load.filesz))
    return offset + move.step


def _pieces(
    view: memoryview, moves: list[_Move], patches: list[tuple[int, bytes]]
) -> Iterator[bytes | memoryview]:
    """The new file up to the end of its segments; `patches` replace bytes at old offsets."""
    cursor = 0
    for move in moves:
        yield bytes(move.start + move.step - cursor)
        at = move.start
        for start, data in patches:
            if move.holds(start, start + len(data)):
                yield view[at:start]
                yield data
                at = start + len(data)
        yield view[at : move.end]
        cursor = move.end + move.step


def _header(
    view: memoryview, source: SharedObject, moves: list[_Move], table: _SectionTable
) -> bytes:
    """The ELF header, with the new places of the two tables."""
    old = source.program_headers
    home = next(move for move in moves if move.holds(old, old + elf.PROGRAM_HEADER.size))
    fields = list(elf.HEADER.unpack_from(view))
    fields[5], fields[6] = old + home.step, table.offset
    fields[11:14] = (elf.SECTION_HEADER.size, table.count, max(table.count - 1, 0))
    return elf.HEADER.pack(*fields)


def _program_headers(view: memoryview, source: SharedObject, segments: list[Segment]) -> bytes:
    """The program headers, with their new offsets and nothing else changed."""
    rows = []
    for index, segment in enumerate(segments):
        at = source.program_headers + index * elf.PROGRAM_HEADER.size
        kind, flags, _, *rest = elf.PROGRAM_HEADER.unpack_from(view, at)
        rows.append(elf.PROGRAM_HEADER.pack(kind, flags, segment.offset, *rest))
    return b"".join(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SectionTable:
    """What follows the segments: section names, then section headers from file offset `offset`."""

    data: bytes
    offset: int
    count: int


def _section_table(
    sections: list[Section], loads: tuple[Segment, ...], moves: list[_Move], end: int
) -> _SectionTable:
    """Section headers for a file whose segments end at offset `end`."""
    if not sections:
        return _SectionTable(data=b"", offset=0, count=0)
    names = b"\0"
    rows = []
    for section in sections:
        name = 0
        if section.name:
            name = len(names)
            names += section.name.encode() + b"\0"
        home = next((load for load in loads if _within(section, load)), None)
        offset = end if home is None else _new(section.offset, home, moves)
        rows.append(_row(section, name=name, offset=offset, count=len(sections)))
    name = len(names)
    names += b".shstrtab\0"
    rows.append(elf.SECTION_HEADER.pack(name, elf.SHT_STRTAB, 0, 0, end, len(names), 0, 0, 1, 0))
    # The table is aligned to 8 bytes, as everything in it is read in words of 8.
    padding = b"\0" * (-(end + len(names)) % 8)
    return _SectionTable(
        data=names + padding + b"".join(rows),
        offset=end + len(names) + len(padding),
        count=len(rows),
    )


def _row(section: Section, *, name: int, offset: int, count: int) -> bytes:
    if section.type == elf.SHT_NULL:
        return bytes(elf.SECTION_HEADER.size)
    info = section.info
    if section.flags & elf.SHF_INFO_LINK and info >= count:
        info = 0
    return elf.SECTION_HEADER.pack(
        name,
        section.type,
        section.flags,
        section.addr,
        offset,
        section.size,
        section.link if section.link < count else 0,
        info,
        section.align,
        section.entsize,
    )


def _kept_sections(source: SharedObject) -> list[Section]:
    """The sections that are loaded; none when one of them contradicts the segments.

    Their indices stay, since .dynsym, which is loaded, refers to them.
    """
    last = 0
    for index, section in enumerate(source.sections):
        if _loaded(section):
            if (
                section.type != elf.SHT_NOBITS
                and section.size
                and not any(_within(section, load) for load in source.loads)
            ):
                return []
            last = index
    if last == 0:
        return []
    return [s if _loaded(s) else _NO_SECTION for s in source.sections[: last + 1]]


_NO_SECTION = Section(
    name="", type=0, flags=0, addr=0, offset=0, size=0, link=0, info=0, align=0, entsize=0
)


def _loaded(section: Section) -> bool:
    return bool(section.flags & elf.SHF_ALLOC) and section.type != elf.SHT_NULL


def _within(section: Section, load: Segment) -> bool:
    """Whether a section is part of a segment, at an address and an offset that agree."""
    size = 0 if section.type == elf.SHT_NOBITS else section.size
    return (
        load.holds(section.addr, size) and section.offset - load.offset == section.addr - load.vaddr
    )
