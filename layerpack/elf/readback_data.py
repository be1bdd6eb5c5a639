"""Read the data of a packed library back that is decompressed when it is loaded, and what has that
done: its starter. Shares nothing with what writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import zstandard

from layerpack.elf.readback import PAGE, DifferenceError, Memory, PagedIndex

_INIT: Final = 12
_AARCH64: Final = 183


class DataBlocks:
    """The blocks of an index."""

    def __init__(self, index: PagedIndex, new: Memory) -> None:
        self._index, self._new = index, new
        data = index.data
        at, count, zero, self._starter = struct.unpack_from("<IIIQ", data, 124)
        self._rows = [struct.unpack_from("<QQIIII", data, at + 32 * one) for one in range(count)]
        #: Blocks, as (address, end, flags).
        self.extents = [
            (vaddr, vaddr + pages * PAGE, flags) for vaddr, _, _, pages, flags, _ in self._rows
        ]
        if zero or any(not row[3] or row[5] or row[0] % PAGE for row in self._rows):
            raise DifferenceError("its blocks of data are not in order")
        end = 0
        for vaddr, stop, _ in self.extents:
            if vaddr < end:
                raise DifferenceError("its blocks of data are not in order")
            end = stop
            if any(first < stop and vaddr < last for first, last, _ in index.extents):
                raise DifferenceError("a page is code and data as well")
            if any(
                one.flags and one.vaddr // PAGE * PAGE < stop and vaddr < -(-one.end // PAGE) * PAGE
                for one in new.loads
            ):
                raise DifferenceError("a page of data is mapped and absent as well")

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """The blocks, as (address, bytes), as the pager would place them."""
        for vaddr, offset, size, pages, _, _ in self._rows:
            frame = self._index.frame(offset, size)
            parameters = zstandard.get_frame_parameters(frame)
            if parameters.content_size != pages * PAGE or not parameters.has_checksum:
                raise DifferenceError("a frame has another size, or no checksum")
            yield (
                vaddr,
                zstandard.ZstdDecompressor().decompress(
                    frame, read_across_frames=False, allow_extra_data=False
                ),
            )

    def check_start(self, old: Memory) -> None:
        """With blocks, DT_INIT is code of its own that reads a byte of one, and then goes on to
        where the original's DT_INIT is."""
        before, after = dict(old.dynamic()).get(_INIT), dict(self._new.dynamic()).get(_INIT)
        end = max(one.end for one in old.loads)
        found = [one for one in self._new.loads if one.vaddr >= end and one.flags & 1]
        if not self._rows:
            if found or self._starter or before != after:
                raise DifferenceError("it starts in another way")
            return
        if len(found) != 1 or found[0].flags != 5 or after != found[0].vaddr:
            raise DifferenceError("its starter has no segment of its own")
        if found[0].vaddr != self._starter:
            raise DifferenceError("its index tells of another starter")
        code = self._new.at(found[0].vaddr, found[0].filesz)
        arm = int.from_bytes(self._new.view[18:20], "little") == _AARCH64
        touched, then = (_arm if arm else _x86)(found[0].vaddr, code)
        if touched != self.extents[0][0]:
            raise DifferenceError("its starter does not touch the data")
        if then != before:
            raise DifferenceError("its starter does not go on to what it replaces")


def _x86(at: int, code: bytes) -> tuple[int, int | None]:
    """What a starter touches, and where it goes."""
    if code[:6] != bytes.fromhex("f30f1efa803d") or code[10:11] != b"\0":
        raise DifferenceError("its starter is not one")
    touched = at + 11 + int.from_bytes(code[6:10], "little", signed=True)
    rest = code[11:]
    if rest == b"\xc3":
        return touched, None
    if len(rest) != 5 or rest[0] != 0xE9:
        raise DifferenceError("its starter is not one")
    return touched, at + len(code) + int.from_bytes(rest[1:], "little", signed=True)


def _arm(at: int, code: bytes) -> tuple[int, int | None]:
    words = [one[0] for one in struct.iter_unpack("<I", code)]
    if len(words) < 4 or words[0] != 0xD503245F or words[2] != 0x39400210:
        raise DifferenceError("its starter is not one")
    touched = _page(words[1], 16, at + 4)
    if words[3:] == [0xD65F03C0]:
        return touched, None
    if len(words) != 6 or words[4] & 0xFFC003FF != 0x91000231 or words[5] != 0xD61F0220:
        raise DifferenceError("its starter is not one")
    return touched, _page(words[3], 17, at + 12) + (words[4] >> 10 & 0xFFF)


def _page(word: int, register: int, at: int) -> int:
    """The page that an ADRP leads to."""
    if word & 0x9F00001F != 0x90000000 | register:
        raise DifferenceError("its starter is not one")
    pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return (at // PAGE + (pages - (1 << 21) if pages >> 20 else pages)) * PAGE
