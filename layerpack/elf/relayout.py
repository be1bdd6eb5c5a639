"""Lay a library out anew: old tables' pages cut out, new tables in a segment of their own.

Virtual addresses stay; only file offsets change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.index import PAGE
from layerpack.elf.read import Section, Segment, SharedObject
from layerpack.elf.tables import DT_SYMTAB, Memory, Range

# Tables are aligned to 8 bytes; more than that between two of them belongs to something else.
_LARGEST_GAP = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A PT_LOAD of the new file: `load` with its new offset, whose bytes begin at the old offset
    `source`; None where they are new."""

    load: Segment
    source: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where everything goes: the PT_LOADs and all program headers; the file offset of their table,
    which begins the last PT_LOAD; the addresses of the new tables that follow it, by dynamic tag;
    the pages that are gone."""

    pieces: tuple[Piece, ...]
    segments: tuple[Segment, ...]
    table_at: int
    moved: Mapping[int, Range]
    holes: tuple[Range, ...]

    @property
    def new_load(self) -> Segment:
        return self.pieces[-1].load

    @property
    def end(self) -> int:
        """Where the last segment ends in the file."""
        return self.new_load.offset + self.new_load.filesz


def holes(memory: Memory, source: SharedObject, dropped: Sequence[Range]) -> list[Range]:
    """The pages that hold nothing but the tables `dropped`."""
    runs: list[Range] = []
    for part in sorted(dropped, key=lambda part: part.start):
        if runs and 0 <= part.start - runs[-1].end < _LARGEST_GAP:
            gap = part.start - runs[-1].end
            if not any(memory.at(runs[-1].end, gap)):
                runs[-1] = Range(start=runs[-1].start, size=part.end - runs[-1].start)
                continue
        runs.append(part)
    # A segment that lies in another (RELRO, notes) says that its pages are there.
    others = [
        Range(start=s.vaddr, size=s.memsz)
        for s in source.segments
        if s.type != elf.PT_LOAD and s.memsz
    ]
    found = []
    for run in runs:
        start, end = -(-run.start // PAGE) * PAGE, run.end // PAGE * PAGE
        hole = Range(start=start, size=end - start)
        if start < end and not any(hole.overlaps(other) for other in others):
            found.append(hole)
    return found


def plan(source: SharedObject, cut: Sequence[Range], tables: Mapping[int, bytes]) -> Layout:
    """Plan the new file. Raises ElfError where a segment cannot find its place."""
    parts = [part for load in source.loads for part in _without(load, cut)]
    pieces = []
    cursor = 0
    for part in parts:
        offset = cursor + (part.vaddr - cursor) % PAGE
        pieces.append(Piece(load=replace(part, offset=offset, align=PAGE), source=part.offset))
        cursor = offset + part.filesz
    if parts[0].offset or pieces[0].load.offset or parts[0].filesz < elf.HEADER.size:
        raise ElfError("its ELF header is not in its first segment")

    end = max(load.vaddr + load.memsz for load in source.loads)
    start = -(-end // PAGE) * PAGE
    # glibc finds the program headers by the file's pages. One that the writable segment shares
    # would be its copy, whose rest it clears for .bss; so the new segment begins with a new page.
    offset = -(-cursor // PAGE) * PAGE
    table_size = (len(source.segments) - len(source.loads) + len(pieces) + 1) * (
        elf.PROGRAM_HEADER.size
    )
    moved = {}
    at = start + table_size
    for tag, data in tables.items():
        if tag != elf.DT_STRTAB:
            at += -at % 8
        moved[tag] = Range(start=at, size=len(data))
        at += len(data)
    new = Segment(
        type=elf.PT_LOAD,
        flags=elf.PF_R,
        offset=offset,
        vaddr=start,
        filesz=at - start,
        memsz=at - start,
        align=PAGE,
    )
    pieces.append(Piece(load=new, source=None))
    return Layout(
        pieces=tuple(pieces),
        segments=_segments(source, pieces, table_size),
        table_at=offset,
        moved=moved,
        holes=tuple(cut),
    )


def new_offset(layout: Layout, vaddr: int, size: int) -> int:
    """Where the bytes at an address lie in the new file. Raises ElfError."""
    for piece in layout.pieces:
        if piece.load.holds(vaddr, size):
            return piece.load.offset + vaddr - piece.load.vaddr
    raise ElfError(f"nothing is loaded at {vaddr:#x}")


def content(
    view: memoryview, layout: Layout, tables: Mapping[int, bytes], patches: Mapping[int, bytes]
) -> Iterator[bytes | memoryview]:
    """The new file up to the end of its segments; `patches` replace bytes at addresses."""
    cursor = 0
    left = sorted(patches.items())
    for piece in layout.pieces:
        load = piece.load
        yield bytes(load.offset - cursor)
        cursor = load.offset + load.filesz
        if piece.source is None:
            yield from _new_content(layout, tables)
            continue
        at = piece.source
        for vaddr, data in left:
            if load.holds(vaddr, len(data)):
                start = piece.source + vaddr - load.vaddr
                yield view[at:start]
                yield data
                at = start + len(data)
        yield view[at : piece.source + load.filesz]


def _new_content(layout: Layout, tables: Mapping[int, bytes]) -> Iterator[bytes]:
    rows = [
        elf.PROGRAM_HEADER.pack(
            s.type, s.flags, s.offset, s.vaddr, s.vaddr, s.filesz, s.memsz, s.align
        )
        for s in layout.segments
    ]
    yield b"".join(rows)
    at = layout.new_load.vaddr + len(rows) * elf.PROGRAM_HEADER.size
    for tag, part in layout.moved.items():
        yield bytes(part.start - at)
        yield tables[tag]
        at = part.end


def header(view: memoryview, layout: Layout, *, sections_at: int, section_count: int) -> bytes:
    """The ELF header; the last section holds the sections' names."""
    fields = list(elf.HEADER.unpack_from(view))
    fields[5], fields[6] = layout.table_at, sections_at
    fields[10] = len(layout.segments)
    fields[11:] = (elf.SECTION_HEADER.size, section_count, max(section_count - 1, 0))
    return elf.HEADER.pack(*fields)


def section_table(
    source: SharedObject, layout: Layout, old: Mapping[int, Range], local_symbols: int
) -> tuple[bytes, int]:
    """Section names and headers, to follow the segments, and the number of headers.

    Only what is loaded keeps its header, at its old index, since symbols refer to it. Nothing is
    kept, (b"", 0), where a header contradicts the segments. `old` are the moved tables' former
    places. Raises ElfError where a section lies among the pages that are cut out.
    """
    tags = {part.start: tag for tag, part in old.items() if tag in layout.moved and part.size}
    sections = list(source.sections)
    while sections and not _loaded(sections[-1]):
        sections.pop()
    names = b"\0"
    rows = [bytes(elf.SECTION_HEADER.size)]
    for section in sections[1:]:
        if not _loaded(section):
            rows.append(bytes(elf.SECTION_HEADER.size))
            continue
        placed = _placed(section, source, layout, tags, local_symbols)
        if placed is None:
            return b"", 0
        rows.append(_row(placed, len(names), len(sections)))
        names += section.name.encode() + b"\0"
    if len(rows) == 1:
        return b"", 0
    name, end = len(names), layout.end
    names += b".shstrtab\0"
    rows.append(elf.SECTION_HEADER.pack(name, elf.SHT_STRTAB, 0, 0, end, len(names), 0, 0, 1, 0))
    padding = bytes(-(end + len(names)) % 8)
    return b"".join([names, padding, *rows]), len(rows)


def _placed(
    section: Section,
    source: SharedObject,
    layout: Layout,
    tags: Mapping[int, int],
    local_symbols: int,
) -> Section | None:
    """A section with its new place; None where it contradicts the segments."""
    size = 0 if section.type == elf.SHT_NOBITS else section.size
    home = next((load for load in source.loads if load.holds(section.addr, size)), None)
    if size and (home is None or section.offset - home.offset != section.addr - home.vaddr):
        return None
    tag = tags.get(section.addr) if size else None
    if tag is not None:
        part = layout.moved[tag]
        offset = layout.new_load.offset + part.start - layout.new_load.vaddr
        info = local_symbols if tag == DT_SYMTAB else section.info
        return replace(section, addr=part.start, offset=offset, size=part.size, info=info)
    if size and any(hole.overlaps(Range(start=section.addr, size=size)) for hole in layout.holes):
        raise ElfError("a section lies among its dynamic tables")
    try:
        return replace(section, offset=new_offset(layout, section.addr, size))
    except ElfError:
        return replace(section, offset=layout.end)


def _loaded(section: Section) -> bool:
    return bool(section.flags & elf.SHF_ALLOC) and section.type != elf.SHT_NULL


def _row(section: Section, name: int, count: int) -> bytes:
    info = section.info
    if section.flags & elf.SHF_INFO_LINK and info >= count:
        info = 0
    return elf.SECTION_HEADER.pack(
        name,
        section.type,
        section.flags,
        section.addr,
        section.offset,
        section.size,
        section.link if section.link < count else 0,
        info,
        section.align,
        section.entsize,
    )


def _without(load: Segment, cut: Sequence[Range]) -> Iterator[Segment]:
    """The parts of a segment outside the pages cut out; its zeroed memory belongs to the last."""
    start = load.vaddr
    for hole in sorted(cut, key=lambda hole: hole.start):
        if load.holds(hole.start, hole.size):
            if hole.start > start:
                yield _part(load, start, hole.start, hole.start)
            start = hole.end
    if start < load.vaddr + load.memsz:
        yield _part(load, start, load.vaddr + load.filesz, load.vaddr + load.memsz)


def _part(load: Segment, start: int, file_end: int, end: int) -> Segment:
    return replace(
        load,
        vaddr=start,
        offset=load.offset + start - load.vaddr,
        filesz=file_end - start,
        memsz=end - start,
    )


def _segments(
    source: SharedObject, pieces: Sequence[Piece], table_size: int
) -> tuple[Segment, ...]:
    """All program headers, in the old order, with the PT_LOADs where the first of them was."""
    loads = [piece.load for piece in pieces]
    segments: list[Segment] = []
    placed = False
    for segment in source.segments:
        if segment.type == elf.PT_LOAD:
            if not placed:
                segments += loads
            placed = True
        elif segment.type == elf.PT_PHDR:
            new = loads[-1]
            segments.append(
                replace(
                    segment,
                    vaddr=new.vaddr,
                    offset=new.offset,
                    filesz=table_size,
                    memsz=table_size,
                )
            )
        else:
            segments.append(_moved(segment, loads))
    return tuple(segments)


def _moved(segment: Segment, loads: Sequence[Segment]) -> Segment:
    """A program header for bytes of a PT_LOAD; one without bytes (GNU_STACK) has no place."""
    for load in loads:
        if load.holds(segment.vaddr, segment.filesz) and segment.type != elf.PT_GNU_STACK:
            return replace(segment, offset=load.offset + segment.vaddr - load.vaddr)
    if segment.filesz:
        raise ElfError(f"a segment of type {segment.type:#x} is not in what is loaded")
    return segment
