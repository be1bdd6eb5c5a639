"""Compare what two versions of a library put into memory."""

from __future__ import annotations

from layerpack.elf import format as elf
from layerpack.elf.extents import without
from layerpack.elf.read import Segment, read

_CHUNK = 1 << 20


def memory_image_equal(before: bytes | memoryview, after: bytes | memoryview) -> bool:
    """Whether two files load the same bytes at the same addresses with the same rights.

    Every byte of every PT_LOAD is compared, and every program header. Only what says where in
    the file something lies may differ: offsets in the program headers, and the ELF header's
    fields on tables. Raises ElfError where one of the two cannot be read.
    """
    old, new = read(before), read(after)
    if _placed(old.segments) != _placed(new.segments):
        return False
    if (old.machine, old.kind) != (new.machine, new.kind):
        return False
    moving = sorted([*_header_ranges(), *_offset_ranges(old.program_headers, len(old.segments))])
    with memoryview(before) as old_view, memoryview(after) as new_view:
        for old_load, new_load in zip(old.loads, new.loads, strict=True):
            step = new_load.offset - old_load.offset
            for start, end in without(moving, old_load.offset, old_load.offset + old_load.filesz):
                for at in range(start, end, _CHUNK):
                    stop = min(at + _CHUNK, end)
                    # bytes compare by memcmp, memoryviews one by one.
                    if bytes(old_view[at:stop]) != bytes(new_view[at + step : stop + step]):
                        return False
        # The program header table must be the same memory, or not be in memory at all.
        return _address(old.loads, old.program_headers) == _address(
            new.loads, new.program_headers
        ) and _header_fields(old_view) == _header_fields(new_view)


def _placed(segments: tuple[Segment, ...]) -> list[tuple[int, ...]]:
    return [(s.type, s.flags, s.vaddr, s.filesz, s.memsz, s.align) for s in segments]


def _header_fields(view: memoryview) -> tuple[object, ...]:
    """The ELF header without phoff, shoff, shentsize, shnum and shstrndx."""
    fields = elf.HEADER.unpack_from(view)
    return (*fields[:5], *fields[7:11])


def _header_ranges() -> list[tuple[int, int]]:
    """Where the ELF header says where the tables are: phoff and shoff; shentsize to shstrndx."""
    return [(32, 48), (58, 64)]


def _offset_ranges(table: int, count: int) -> list[tuple[int, int]]:
    """Where the program headers keep p_offset, 8 bytes after each one's start."""
    starts = range(table + 8, table + count * elf.PROGRAM_HEADER.size, elf.PROGRAM_HEADER.size)
    return [(start, start + 8) for start in starts]


def _address(loads: tuple[Segment, ...], offset: int) -> int | None:
    """The address at which a file offset is loaded, None where it is not."""
    for load in loads:
        if load.offset <= offset < load.offset + load.filesz:
            return load.vaddr + offset - load.offset
    return None
