"""What the unwinding tables say of functions that are left out, and nothing reads any more.

A function's entry (FDE) stays, since a table is searched by addresses; its instructions and its
table of exceptions (LSDA) need not. Format: LSB Core, "Exception Frames", and the Itanium C++ ABI,
"Exception Handling Tables".
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.code import Code
from layerpack.elf.dynamic import Image

#: Augmentations of CIEs, as GCC and LLVM write them, with the place of the LSDA's encoding among
#: their data (behind the personality's encoding and 4 bytes of pointer).
_AUGMENTED: Final = {b"zR": None, b"zPR": None, b"zPLR": 5, b"zLR": 0}
#: Pointers of 4 bytes, relative to their own place.
_RELATIVE_4: Final = 0x1B
#: In place of an LSDA's address: the function may have one, and where is not known.
_UNKNOWN: Final = 0


def unwinding_of(code: Code, starts: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The bytes, as (start, end), that only unwinding through these functions would read.

    `starts` are addresses of functions. No tables of exceptions where one of any function is
    described in another way than GCC's and LLVM's: it may lie behind any other one. Raises ElfError
    for malformed tables.
    """
    entries = dict(_entries(code))
    tables = code.section(".gcc_except_table")
    places = {start: _exceptions(code.image, entry) for start, entry in entries.items()}
    ordered = sorted(place for place in places.values() if place is not None)
    if _UNKNOWN in ordered:
        tables = None
    found: list[tuple[int, int]] = []
    for start in starts:
        if start not in entries:
            continue
        found.extend(_instructions(code.image, entries[start]))
        place = places[start]
        if place is not None and tables is not None:
            # Up to the next one's.
            after = bisect_right(ordered, place)
            end = tables.addr + tables.size
            alone = after < 2 or ordered[after - 2] != place
            if tables.addr <= place < end and alone:
                found.append((place, ordered[after] if after < len(ordered) else end))
    return tuple(sorted(one for one in found if one[0] < one[1]))


def _entries(code: Code) -> Iterator[tuple[int, int]]:
    """(function, FDE), by the table that `functions` has checked."""
    header = next(s for s in code.source.segments if s.type == elf.PT_GNU_EH_FRAME)
    (count,) = struct.unpack("<I", code.image.bytes_at(header.vaddr + 8, 4))
    for start, entry in struct.iter_unpack(
        "<ii", code.image.bytes_at(header.vaddr + 12, 8 * count)
    ):
        yield header.vaddr + start, header.vaddr + entry


def _instructions(image: Image, entry: int) -> Iterator[tuple[int, int]]:
    """Of an FDE, behind its addresses and its augmentation's data; 0 is DW_CFA_nop."""
    (length,) = struct.unpack("<I", image.bytes_at(entry, 4))
    size = image.bytes_at(entry + 16, 1)[0]
    if size < 0x80:
        yield entry + 17 + size, entry + 4 + length


def _exceptions(image: Image, entry: int) -> int | None:
    """The address of an FDE's LSDA; None where it has none, _UNKNOWN for one of another kind."""
    _, back, *_, size = struct.unpack("<IIiIB", image.bytes_at(entry, 17))
    augmentation, kind = _exception_pointers(image, entry + 4 - back)
    if b"L" not in augmentation:
        return None
    if kind != _RELATIVE_4 or size != 4:
        return _UNKNOWN
    (distance,) = struct.unpack("<i", image.bytes_at(entry + 17, 4))
    return entry + 17 + distance if distance else None


def _exception_pointers(image: Image, common: int) -> tuple[bytes, int | None]:
    """A CIE's augmentation, and how its functions point to their LSDAs; None where that is not
    known."""
    data = bytes(image.bytes_at(common + 8, 24))
    augmentation = data[1 : data.index(0, 1)]
    at = _AUGMENTED.get(augmentation)
    # Version, augmentation, two alignments, the return address's register, the data's size: each
    # number in one byte, as on all machines of ours.
    return augmentation, None if at is None else data[2 + len(augmentation) + 4 + at]
