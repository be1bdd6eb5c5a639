"""Take a packed library apart from its bytes, as the loader and the pager do it.

Shares nothing with what writes them but the filter, so that a mistake there shows here.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import zstandard

from layerpack.elf.filter import decode

PAGE: Final = 4096
CHUNK: Final = 1 << 16
LOAD: Final = 1
DYNAMIC: Final = 2
PHDR: Final = 6
OURS: Final = 0x6C706167


class DifferenceError(Exception):
    """What is not as it should be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        return self.vaddr + self.memsz

    @property
    def is_hole(self) -> bool:
        """Whether nobody may touch its memory, and the file has no bytes of it."""
        return self.type == LOAD and not self.flags and not self.filesz


def _headers(view: memoryview) -> list[Header]:
    if bytes(view[:6]) != b"\x7fELF\x02\x01":
        raise DifferenceError("it is not an ELF file")
    (start,) = struct.unpack_from("<Q", view, 32)
    size, count = struct.unpack_from("<HH", view, 54)
    if size != 56:
        raise DifferenceError("its program headers have another size")
    found = []
    for number in range(count):
        kind, flags, offset, vaddr, _, filesz, memsz, align = struct.unpack_from(
            "<IIQQQQQQ", view, start + 56 * number
        )
        found.append(
            Header(
                type=kind,
                flags=flags,
                offset=offset,
                vaddr=vaddr,
                filesz=filesz,
                memsz=memsz,
                align=align,
            )
        )
    return found


class Memory:
    """A file's PT_LOADs, as the loader maps them."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.headers = _headers(view)
        self.loads = [one for one in self.headers if one.type == LOAD]

    def load_at(self, vaddr: int) -> Header | None:
        return next((one for one in self.loads if one.vaddr <= vaddr < one.end), None)

    def at(self, vaddr: int, size: int) -> bytes:
        """`size` bytes that the file backs."""
        for one in self.loads:
            if one.vaddr <= vaddr and vaddr + size <= one.vaddr + one.filesz:
                start = one.offset + vaddr - one.vaddr
                return bytes(self.view[start : start + size])
        raise DifferenceError(f"nothing is loaded at {vaddr:#x}")

    def string(self, vaddr: int) -> bytes:
        """The bytes up to the zero byte."""
        for one in self.loads:
            if one.vaddr <= vaddr < one.vaddr + one.filesz:
                start = one.offset + vaddr - one.vaddr
                end = min(one.offset + one.filesz, start + CHUNK)
                return bytes(self.view[start:end]).partition(b"\0")[0]
        raise DifferenceError(f"nothing is loaded at {vaddr:#x}")

    def dynamic(self) -> list[tuple[int, int]]:
        header = next((one for one in self.headers if one.type == DYNAMIC), None)
        if header is None:
            raise DifferenceError("it has no dynamic section")
        data = self.at(header.vaddr, header.filesz // 16 * 16)
        entries: list[tuple[int, int]] = []
        for tag, value in struct.iter_unpack("<qQ", data):
            if tag == 0:
                return entries
            entries.append((tag, value))
        raise DifferenceError("its dynamic section does not end")


class PagedIndex:
    """The index, and the pages that it restores."""

    def __init__(self, new: Memory, source: bytes) -> None:
        found = [one for one in new.headers if one.type == OURS]
        if len(found) != 1:
            raise DifferenceError("it has no index, or two")
        data = new.at(found[0].vaddr, found[0].filesz)
        self.data = data
        magic, version, check, size, digest, self._frames, self._frames_size = struct.unpack_from(
            "<8sIIQ32sQQ", data
        )
        pages, ranges, self.window_count, self._run_count = struct.unpack_from("<4I", data, 72)
        at_ranges, at_pages, self._windows, self._runs = struct.unpack_from("<4I", data, 88)
        self._filter, self._bits, name, largest = struct.unpack_from("<4I", data, 104)
        if (magic, version, size) != (b"LAYERPAK", 3, len(data)):
            raise DifferenceError("its index is not one")
        if _xxh64(data[16:]) != check:
            raise DifferenceError("its index is damaged")
        if digest != source:
            raise DifferenceError("it was made from another file")
        if self._filter not in (0, 1, 2) or b"\0" not in data[name:]:
            raise DifferenceError("its index has an unknown filter, or no name")
        if self._filter == 1 and not 20 <= self._bits <= 32:
            raise DifferenceError("its filter has an unknown width")
        if 4 * pages > len(data) - at_pages:
            raise DifferenceError("its pages lie outside the index")
        self._new = new
        #: Ranges, as (first page, address) and as (address, end, flags).
        self._firsts: list[tuple[int, int]] = []
        self.extents: list[tuple[int, int, int]] = []
        self._page_count = pages
        self._read_ranges(at_ranges, ranges)
        self._check_windows(at_pages, largest)

    def _read_ranges(self, at: int, count: int) -> None:
        page = 0
        for number in range(count):
            vaddr, pages, first, flags, _ = struct.unpack_from(
                "<QIIII", self.data, at + 24 * number
            )
            if first != page or vaddr % PAGE or not 0 < pages <= self._page_count:
                raise DifferenceError("its ranges are not in order")
            self._firsts.append((first, vaddr))
            self.extents.append((vaddr, vaddr + pages * PAGE, flags))
            page += pages
        if any(one[1] > other[0] for one, other in pairwise(self.extents)):
            raise DifferenceError("its ranges overlap")
        if page != self._page_count:
            raise DifferenceError("its pages do not add up")

    def _check_windows(self, at_pages: int, largest: int) -> None:
        """Every page is in one window, and the pages' table says so."""
        table = memoryview(self.data)[at_pages : at_pages + 4 * self._page_count].cast("I")
        owner = [-1] * self._page_count
        most = 0
        for window in range(self.window_count):
            raw = 0
            before = -1
            for page, count in self._runs_of(window):
                raw += count * PAGE
                if page <= before or page + count > self._page_count or not count:
                    raise DifferenceError("a window's runs are not in order")
                before = page + count - 1
                for number in range(page, page + count):
                    if owner[number] != -1:
                        raise DifferenceError("a page is in two windows")
                    owner[number] = window
            if raw != self._window(window)[2]:
                raise DifferenceError("a window has another size than its runs")
            most = max(most, raw)
        if owner != table.tolist() or most != largest:
            raise DifferenceError("a page is in no window, or not in the one that its table names")

    def _window(self, number: int) -> tuple[int, ...]:
        return struct.unpack_from("<QIIII", self.data, self._windows + 24 * number)

    def _runs_of(self, number: int) -> Iterator[tuple[int, int]]:
        first = self._window(number)[3]
        last = number + 1 == self.window_count
        for run in range(first, self._run_count if last else self._window(number + 1)[3]):
            page, count = struct.unpack_from("<II", self.data, self._runs + 8 * run)
            yield page, count

    def frame(self, offset: int, size: int) -> bytes:
        """The frame of a window, or of data."""
        if offset + size > self._frames_size:
            raise DifferenceError("a window lies outside the frames")
        return self._new.at(self._frames + offset, size)

    def pages(self, number: int) -> Iterator[tuple[int, bytes]]:
        """A window's runs, as (address, bytes), as the pager would place them."""
        offset, size, raw, _, check = self._window(number)
        frame = self.frame(offset, size)
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size != raw or not parameters.has_checksum:
            raise DifferenceError("a frame has another size, or no checksum")
        data = zstandard.ZstdDecompressor().decompress(
            frame, read_across_frames=False, allow_extra_data=False
        )
        parts = []
        at = 0
        for page, count in self._runs_of(number):
            number = bisect_right(self._firsts, (page, 1 << 64)) - 1
            first, vaddr = self._firsts[number]
            vaddr += (page - first) * PAGE
            part = data[at : at + count * PAGE]
            if vaddr + len(part) > self.extents[number][1]:
                raise DifferenceError("a run crosses from one range into another")
            if self.extents[number][2] & 1:
                part = decode(part, vaddr, self._filter, self._bits)
            parts.append((vaddr, part))
            at += count * PAGE
        if _xxh64(b"".join(part for _, part in parts)) != check:
            raise DifferenceError("a window's checksum is wrong")
        yield from parts


def _xxh64(data: bytes) -> int:
    """Its low 32 bits, which end a zstd frame with a checksum (RFC 8878, 3.1.1)."""
    compressor = zstandard.ZstdCompressor(level=-50, write_checksum=True)
    return int.from_bytes(compressor.compress(data)[-4:], "little")
