"""Lay out a packed library: which bytes go where in the file, and its program headers.

Every PT_LOAD keeps its addresses; it is split around the ranges that are absent, and its pieces
move together in the file. A range gets a PT_LOAD of its own, without bytes and without rights:
unwinders (libgcc's before glibc 2.35, LLVM's on any) look for the library of an address by these,
and an exception that finds none ends the process. The loader maps it as memory that nobody may
touch.

Two PT_LOADs are new, behind all others: a writable one for the dynamic section (glibc before 2.35
writes into it), and a read-only one for all else; between them there may be an executable one, for
the starter. The read-only one holds the program headers too, on a page of their own: glibc finds
them in the first segment that maps their page, and clears the end of that page if the segment has a
.bss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.index import PAGE, Range
from layerpack.elf.read import Segment, SharedObject

# Types that name no bytes which the loader takes from a file offset, so may lie in a hole.
_BY_ADDRESS: Final = frozenset({elf.PT_GNU_EH_FRAME})


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """What is left of a PT_LOAD between holes, or a hole: `source` is its offset in the original
    file."""

    source: int
    segment: Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The new file: `pieces` by ascending offset, then the dynamic section, perhaps a starter, and
    the tail.

    The tail begins with the program headers, `headers` bytes of them.
    """

    pieces: tuple[Piece, ...]
    dynamic_offset: int
    dynamic_vaddr: int
    starter_offset: int
    starter_vaddr: int
    tail_offset: int
    tail_vaddr: int
    headers: int

    def offset_of(self, vaddr: int) -> int | None:
        """The file offset of an address that a piece holds."""
        for piece in self.pieces:
            if piece.segment.holds(vaddr, 1):
                return piece.segment.offset + vaddr - piece.segment.vaddr
        return None


def plan(
    source: SharedObject, absent: tuple[Range, ...], dynamic_size: int, starter_size: int
) -> Layout:
    """Where everything goes, with `absent` ranges, ascending, left out; sizes in bytes, 0 for no
    starter. Raises ElfError where the segments cannot be taken apart."""
    _check(source)
    pieces: list[Piece] = []
    cursor = 0
    for load in source.loads:
        for piece in _split(load, absent):
            # The least offset that agrees with the address; a page may hold two pieces' ends. A
            # hole has no bytes, and must not seem to map the program headers.
            is_hole = not (piece.flags or piece.filesz)
            offset = 0 if is_hole else cursor + (piece.vaddr - cursor) % PAGE
            moved = _at(piece, offset)
            pieces.append(Piece(source=load.offset + piece.vaddr - load.vaddr, segment=moved))
            cursor = max(cursor, offset + piece.filesz)
    first = pieces[0].segment
    if first.vaddr == first.offset == 0:
        # The loader (glibc 2.35 and later) puts the whole library where the largest alignment of
        # all its segments says; here one of them can ask for it, as both of its numbers are 0.
        largest = max(PAGE, *(load.align for load in source.loads))
        pieces[0] = replace(pieces[0], segment=replace(first, align=largest))
    end = max(load.vaddr + load.memsz for load in source.loads)
    dynamic_vaddr = _up(end)
    dynamic_offset = _up(cursor)
    starter_offset = _up(dynamic_offset + dynamic_size)
    starter_vaddr = _up(dynamic_vaddr + dynamic_size)
    return Layout(
        pieces=tuple(pieces),
        dynamic_offset=dynamic_offset,
        dynamic_vaddr=dynamic_vaddr,
        starter_offset=starter_offset,
        starter_vaddr=starter_vaddr,
        tail_offset=_up(starter_offset + starter_size),
        tail_vaddr=_up(starter_vaddr + starter_size),
        headers=(len(source.segments) - len(source.loads) + len(pieces) + 3 + bool(starter_size))
        * elf.PROGRAM_HEADER.size,
    )


def program_headers(
    source: SharedObject,
    layout: Layout,
    *,
    dynamic_size: int,
    starter_size: int,
    tail_size: int,
    index: tuple[int, int],
) -> bytes:
    """The new table. `index` is the index's place in the tail, and its size."""
    rows: list[bytes] = []
    dynamic = _new(elf.PT_LOAD, elf.PF_R | elf.PF_W, layout.dynamic_offset, layout.dynamic_vaddr)
    last = source.loads[-1]
    pieces = list(layout.pieces)
    for segment in source.segments:
        if segment.type == elf.PT_LOAD:
            while pieces and pieces[0].segment.vaddr < segment.vaddr + max(segment.memsz, 1):
                rows.append(_row(pieces.pop(0).segment))
            if segment is last:
                rows.append(_row(dynamic, dynamic_size))
                if starter_size:
                    place = layout.starter_offset, layout.starter_vaddr
                    rows.append(_row(_new(elf.PT_LOAD, elf.PF_R | elf.PF_X, *place), starter_size))
                tail = _new(elf.PT_LOAD, elf.PF_R, layout.tail_offset, layout.tail_vaddr)
                rows.append(_row(tail, tail_size))
        elif segment.type == elf.PT_PHDR:
            table = _new(elf.PT_PHDR, segment.flags, layout.tail_offset, layout.tail_vaddr, 8)
            rows.append(_row(table, layout.headers))
        elif segment.type == elf.PT_DYNAMIC:
            moved = _new(
                segment.type, segment.flags, layout.dynamic_offset, layout.dynamic_vaddr, 8
            )
            rows.append(_row(moved, dynamic_size))
        else:
            rows.append(_row(_at(segment, _elsewhere(segment, layout))))
    at, size = index
    ours = _new(elf.PT_LAYERPACK, elf.PF_R, layout.tail_offset + at, layout.tail_vaddr + at, 8)
    return b"".join([*rows, _row(ours, size)])


def elf_header(view: memoryview, layout: Layout) -> bytes:
    """The ELF header, with the table's new place, and no sections."""
    fields = list(elf.HEADER.unpack_from(view))
    fields[5], fields[6] = layout.tail_offset, 0
    fields[10] = layout.headers // elf.PROGRAM_HEADER.size
    fields[12:14] = 0, 0
    return elf.HEADER.pack(*fields)


def _check(source: SharedObject) -> None:
    first = source.loads[0]
    if first.offset != 0 or first.filesz < elf.HEADER.size:
        raise ElfError("its ELF header is not in its first segment")
    page = -1
    for load in source.loads:
        if load.align < PAGE and (load.vaddr - load.offset) % PAGE:
            raise ElfError("its segments are not aligned to pages")
        if load.vaddr // PAGE <= page:
            raise ElfError("two of its segments share a page")
        page = (load.vaddr + max(load.memsz, 1) - 1) // PAGE
    for segment in source.segments:
        if segment.filesz and not any(
            load.holds(segment.vaddr, segment.filesz) for load in source.loads
        ):
            raise ElfError(f"a segment of type {segment.type:#x} is not in what is loaded")


def _split(load: Segment, ranges: tuple[Range, ...]) -> list[Segment]:
    """A PT_LOAD's pieces; the offsets are still the original's."""
    pieces = []
    start, end = load.vaddr, load.vaddr + load.filesz
    for hole in ranges:
        if load.vaddr <= hole.vaddr and hole.end <= end:
            if start < hole.vaddr:
                size = hole.vaddr - start
                pieces.append(_piece(load, start, size, size))
            absent = _piece(load, hole.vaddr, 0, hole.end - hole.vaddr)
            pieces.append(replace(absent, flags=0))
            start = hole.end
    rest = load.vaddr + load.memsz - start
    if rest:
        pieces.append(_piece(load, start, end - start, rest))
    return pieces


def _piece(load: Segment, vaddr: int, filesz: int, memsz: int) -> Segment:
    return Segment(
        type=elf.PT_LOAD,
        flags=load.flags,
        offset=load.offset + vaddr - load.vaddr,
        vaddr=vaddr,
        filesz=filesz,
        memsz=memsz,
        align=PAGE,
    )


def _new(kind: int, flags: int, offset: int, vaddr: int, align: int = PAGE) -> Segment:
    return Segment(
        type=kind, flags=flags, offset=offset, vaddr=vaddr, filesz=0, memsz=0, align=align
    )


def _at(segment: Segment, offset: int) -> Segment:
    return Segment(
        type=segment.type,
        flags=segment.flags,
        offset=offset,
        vaddr=segment.vaddr,
        filesz=segment.filesz,
        memsz=segment.memsz,
        align=segment.align,
    )


def _elsewhere(segment: Segment, layout: Layout) -> int:
    """The offset of a segment that is not a PT_LOAD.

    The loader goes by address. One whose bytes are absent gets an offset that is as good as any
    within the file, and agrees with its address.
    """
    if not segment.filesz:
        return segment.offset if not segment.vaddr else segment.vaddr % PAGE
    offset = layout.offset_of(segment.vaddr)
    if offset is not None:
        return offset
    if segment.type in _BY_ADDRESS:
        return segment.vaddr % PAGE
    raise ElfError(f"a segment of type {segment.type:#x} would be absent")


def _row(segment: Segment, size: int | None = None) -> bytes:
    return elf.PROGRAM_HEADER.pack(
        segment.type,
        segment.flags,
        segment.offset,
        segment.vaddr,
        segment.vaddr,
        segment.filesz if size is None else size,
        segment.memsz if size is None else size,
        segment.align,
    )


def _up(value: int) -> int:
    return -(-value // PAGE) * PAGE
