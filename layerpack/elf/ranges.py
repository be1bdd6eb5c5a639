"""Choose the pages of a library that can be absent until they are touched.

These are machine code and what unwinds it. All that the loader reads or runs before the pager's
constructor stays, and so does `.rodata`: a system call that is given a pointer into an absent page
returns EFAULT, with no fault that the pager could answer (data.py has what can be done with it).

Sections say where code ends and data begins, but a library that works may lie about them or have
none. So they only propose: what they name is clipped to what the segments and the dynamic section
allow. Without them the table of `.eh_frame_hdr`, which the unwinder relies on, tells where
functions are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Dynamic, Image, plt_targets, read_dynamic
from layerpack.elf.extents import without
from layerpack.elf.index import PAGE, Range
from layerpack.elf.read import Section, Segment, SharedObject, map_file, read

UNWINDING: Final = frozenset({".eh_frame", ".eh_frame_hdr", ".gcc_except_table"})
_KEPT_CODE = (".plt", ".init", ".fini")
# Segments that say nothing of what the loader reads.
_NOT_READ = frozenset({elf.PT_LOAD, elf.PT_GNU_EH_FRAME, elf.PT_GNU_STACK})
_CODE = elf.PF_R | elf.PF_X
# .eh_frame_hdr as all linkers write it: version 1; pointer and count as 4 bytes, relative to
# their place and plain; table of 4-byte pairs, relative to the header (LSB, "Exception Frames").
_EH_FRAME_HDR = b"\x01\x1b\x03\x3b"


def pageable_ranges(path: Path) -> tuple[Range, ...]:
    """The pageable ranges of a library, ascending; none where there are none.

    They depend on the file's content alone, so page numbers stay valid for all ways to pack it.
    Raises ElfError for a file that cannot be read, and OSError.
    """
    view = map_file(path)
    source = read(view)
    return choose(view, source, read_dynamic(view, source))


def choose(view: memoryview, source: SharedObject, dynamic: Dynamic) -> tuple[Range, ...]:
    """`pageable_ranges` of a library that was read already."""
    found = list(_of_sections(source))
    if not found:
        found = list(_of_segments(view, source, dynamic))
    return validated(source, dynamic, whole_pages(found))


def whole_pages(extents: list[tuple[int, int, int]]) -> list[Range]:
    """The pages that lie within extents (start, end, flags)."""
    return [Range(vaddr=s, pages=(e - s) // PAGE, flags=f) for s, e, f in _merged(extents)]


def validated(source: SharedObject, dynamic: Dynamic, ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The parts of proposed ranges that may be absent when the loader is done.

    Clipped to segments that are entirely in the file and never written, with what the loader
    reads left out, and code too if the loader calls it.
    """
    kept = sorted(_kept(source, dynamic))
    result: list[Range] = []
    for one in sorted(ranges, key=lambda one: one.vaddr):
        if one.flags & elf.PF_X and dynamic.calls_early:
            continue
        for load in source.loads:
            if not _can_be_absent(load, one.flags):
                continue
            start = max(_up(one.vaddr), _up(load.vaddr), result[-1].end if result else 0)
            end = min(_down(one.end), _down(load.vaddr + load.filesz))
            for first, last in without(kept, start, end):
                result.append(Range(vaddr=first, pages=(last - first) // PAGE, flags=one.flags))
    return tuple(result)


def _can_be_absent(load: Segment, flags: int) -> bool:
    return (
        load.flags in (elf.PF_R, _CODE)
        and load.filesz == load.memsz
        and flags in (elf.PF_R, load.flags)
    )


def _kept(source: SharedObject, dynamic: Dynamic) -> Iterator[tuple[int, int]]:
    """Extents, in whole pages, that stay as they are."""
    headers = [
        (0, elf.HEADER.size),
        (
            source.program_headers,
            source.program_headers + len(source.segments) * elf.PROGRAM_HEADER.size,
        ),
    ]
    for start, end in headers:
        for load in source.loads:
            if load.offset <= start < load.offset + load.filesz:
                step = load.vaddr - load.offset
                yield _down(start + step), _up(end + step)
    for segment in source.segments:
        if segment.type not in _NOT_READ and segment.memsz:
            yield _down(segment.vaddr), _up(segment.vaddr + segment.memsz)
    for start, end in dynamic.reads:
        yield _down(start), _up(end)


def _of_sections(source: SharedObject) -> Iterator[tuple[int, int, int]]:
    for section in source.sections:
        flags = _pageable(section)
        if flags and section.size:
            yield section.addr, section.addr + section.size, flags


def _pageable(section: Section) -> int:
    """The PF_* flags that a section's pages need, 0 if they must stay."""
    if not section.flags & elf.SHF_ALLOC or section.flags & elf.SHF_WRITE:
        return 0
    if section.type == elf.SHT_NOBITS:
        return 0
    if section.flags & elf.SHF_EXECINSTR:
        kept = any(section.name == n or section.name.startswith(f"{n}.") for n in _KEPT_CODE)
        return 0 if kept else _CODE
    return elf.PF_R if section.name in UNWINDING else 0


def _merged(extents: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Whole pages of extents, of which neighbours are joined if only padding is between them."""
    joined: list[tuple[int, int, int]] = []
    for start, end, flags in sorted(extents):
        if joined:
            first, last, before = joined[-1]
            # Sections are aligned to 64 bytes at most, where the linker pads nothing but that.
            if before == flags and last <= start < last + 64:
                joined[-1] = (first, max(last, end), flags)
                continue
        joined.append((start, end, flags))
    for start, end, flags in joined:
        if _up(start) < _down(end):
            yield _up(start), _down(end), flags


def _of_segments(
    view: memoryview, source: SharedObject, dynamic: Dynamic
) -> Iterator[tuple[int, int, int]]:
    """Code between the first and the last function that the unwinder knows, but for the PLT."""
    header = next((s for s in source.segments if s.type == elf.PT_GNU_EH_FRAME), None)
    if header is None or header.memsz < 12:
        return
    image = Image(view, source.loads)
    version, _, count = struct.unpack("<4siI", image.bytes_at(header.vaddr, 12))
    if version != _EH_FRAME_HDR or count == 0 or 12 + 8 * count > header.memsz:
        return
    yield header.vaddr, header.vaddr + header.memsz, elf.PF_R
    table = memoryview(bytes(image.bytes_at(header.vaddr + 12, 8 * count))).cast("i")
    starts = table[::2].tolist()
    first, last = header.vaddr + min(starts), header.vaddr + max(starts)
    plt = sorted({(_down(at), _down(at) + PAGE) for at in plt_targets(view, source, dynamic)})
    for load in source.loads:
        if load.flags == _CODE:
            start = max(_up(load.vaddr), _up(first))
            end = min(_down(load.vaddr + load.filesz), _down(last))
            for left, right in without(plt, start, end):
                yield left, right, _CODE


def _up(vaddr: int) -> int:
    return -(-vaddr // PAGE) * PAGE


def _down(vaddr: int) -> int:
    return vaddr // PAGE * PAGE
