"""The functions of a library, as its unwinding table has them, and the code between them.

Format: LSB Core, "Exception Frames" (.eh_frame and .eh_frame_hdr), and DWARF 4, section 6.4.1. The
table has nearly all of what a compiler made; what was written by hand lies in the gaps.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Image
from layerpack.elf.extents import without
from layerpack.elf.format import ElfError
from layerpack.elf.read import SharedObject

#: Version 1; pointer to .eh_frame and count in 4 bytes, relative and plain; a table of pairs of 4
#: bytes, relative to the header: as all linkers write it.
_HEADER: Final = b"\x01\x1b\x03\x3b"
#: Pointers of 4 bytes, relative to their own place.
_RELATIVE_4: Final = 0x1B
#: Functions begin at multiples of it, at most.
_ALIGNMENT: Final = 16
#: What assemblers put between functions, to align them: x86's NOPs of any length, INT3 and zeroes;
#: aarch64's NOP.
_PADDING: Final = re.compile(
    rb"(?:\x66*\x2e?(?:\x90|\x0f\x1f(?:\x00|\x40.|\x44..|\x80.{4}|\x84.{5}))"
    rb"|\xcc|\x00|\x1f\x20\x03\xd5)*",
    re.DOTALL,
)


def described_functions(image: Image, source: SharedObject) -> list[tuple[int, int]]:
    """(start, end) of every function that the unwinding table knows, ascending, none overlapping.

    Raises ElfError where there is no such table, or one of another kind.
    """
    header = next((s for s in source.segments if s.type == elf.PT_GNU_EH_FRAME), None)
    if header is None or header.memsz < 12:
        raise ElfError("it has no table of its functions")
    version, _, count = struct.unpack("<4siI", image.bytes_at(header.vaddr, 12))
    if version != _HEADER or not count or 12 + 8 * count > header.memsz:
        raise ElfError("its table of functions is of an unknown kind")
    pairs = memoryview(bytes(image.bytes_at(header.vaddr + 12, 8 * count))).cast("i").tolist()
    checked: set[int] = set()
    found = []
    for start, entry in zip(pairs[::2], pairs[1::2], strict=True):
        at = header.vaddr + entry
        length, back, begin, size = struct.unpack("<IIiI", image.bytes_at(at, 16))
        if length == 0xFFFFFFFF or at + 8 + begin != header.vaddr + start:
            raise ElfError("its table of functions contradicts itself")
        common = at + 4 - back
        if common not in checked:
            _check_common(image, common)
            checked.add(common)
        found.append((header.vaddr + start, header.vaddr + start + size))
    found.sort()
    if any(one[1] > other[0] for one, other in pairwise(found)):
        raise ElfError("its functions overlap")
    return [one for one in found if one[0] < one[1]]


def gaps(
    image: Image,
    source: SharedObject,
    functions: list[tuple[int, int]],
    skipped: list[tuple[int, int]],
) -> Iterator[tuple[int, int]]:
    """Code that lies in no function and not in `skipped` (both sorted).

    By sections: where a linker puts code and constants into one segment, nothing else tells.
    """
    taken = sorted([*functions, *skipped])
    for section in source.sections:
        if section.flags & elf.SHF_EXECINSTR and section.type != elf.SHT_NOBITS:
            for start, end in without(taken, section.addr, section.addr + section.size):
                short = end - start < _ALIGNMENT
                if not short or not _PADDING.fullmatch(bytes(image.bytes_at(start, end - start))):
                    yield start, end


def split(gap: tuple[int, int], points: Iterable[int]) -> Iterator[tuple[int, int]]:
    """A gap's parts between the `points` (sorted) that lie in it."""
    start, end = gap
    for point in points:
        if start < point < end:
            yield start, point
            start = point
    yield start, end


def _check_common(image: Image, at: int) -> None:
    """Whether the functions of a CIE have pointers of 4 bytes relative to their place."""
    length, kind = struct.unpack("<II", image.bytes_at(at, 8))
    data = bytes(image.bytes_at(at + 8, length - 4))
    augmentation = data[1 : data.index(0, 1)]
    if kind != 0 or not augmentation.startswith(b"z"):
        raise ElfError("its functions are described in an unknown way")
    cursor = 2 + len(augmentation)
    for _ in range(3 if data[0] == 1 else 2):
        # Alignments of code and data; then the return address, a byte in version 1.
        cursor = _after_number(data, cursor)
    cursor = cursor if data[0] == 1 else _after_number(data, cursor)
    cursor = _after_number(data, cursor)
    for letter in augmentation[1:].decode("ascii", "replace"):
        if letter == "R":
            if data[cursor] != _RELATIVE_4:
                raise ElfError("its functions are described by pointers of an unknown kind")
            return
        if letter == "L":
            cursor += 1
        elif letter == "P":
            cursor += 1 + (8 if data[cursor] & 0x0F in (0, 4, 12) else 4)
        elif letter not in "SB":
            break
    raise ElfError("its functions are described in an unknown way")


def _after_number(data: bytes, at: int) -> int:
    """Behind a LEB128 number."""
    while data[at] & 0x80:
        at += 1
    return at + 1
