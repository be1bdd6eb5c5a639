"""Read a packed library back, and compare what it is in memory with the original.

Independent of what wrote it: both files are taken apart here from their bytes, as the loader and
the pager do it, and each window is decompressed. Nothing but what packing says it changes may
differ: where the tables are (ELF header), the names and versions of redirected imports, and the
dynamic section, which is compared entry by entry.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import zstandard

from layerpack.elf.filter import decode

_PAGE: Final = 4096
_LOAD, _DYNAMIC, _PHDR, _OURS = 1, 2, 6, 0x6C706167
_STRTAB, _SYMTAB, _RPATH, _RUNPATH, _FLAGS_1, _VERSYM = 5, 6, 15, 29, 0x6FFFFFFB, 0x6FFFFFF0
_CHUNK: Final = 1 << 16
# Fields of the ELF header that say where tables are: e_phoff and e_shoff, then e_phnum,
# e_shnum and e_shstrndx.
_HEADER_CHANGES: Final = (range(32, 48), range(56, 58), range(60, 64))
_IMPORTS: Final = frozenset(
    b"signal bsd_signal sysv_signal __sysv_signal sigaction __sigaction sigset pthread_sigmask "
    b"sigprocmask".split()
)
_PAGER: Final = b"liblayerpack_pager.so.1"
_NODELETE: Final = 8


class _DifferenceError(Exception):
    """What is not as it should be."""


def verify(original: Path, packed: Path) -> str | None:
    """Why `packed` would not be the same library in memory as `original`; None if it is.

    The reason reads after "it would not be the same: ". Raises OSError.
    """
    try:
        with original.open("rb") as one, packed.open("rb") as other:
            if not original.stat().st_size or not packed.stat().st_size:
                return "a file is empty"
            # Not closed here: the frames of an error may still look into them.
            before = memoryview(mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ))
            after = memoryview(mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ))
        _compare(before, after)
    except _DifferenceError as error:
        return str(error)
    except (struct.error, zstandard.ZstdError, OverflowError) as error:
        return f"it is damaged ({error})"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
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


def _headers(view: memoryview) -> list[_Header]:
    if bytes(view[:6]) != b"\x7fELF\x02\x01":
        raise _DifferenceError("it is not an ELF file")
    (start,) = struct.unpack_from("<Q", view, 32)
    size, count = struct.unpack_from("<HH", view, 54)
    if size != 56:
        raise _DifferenceError("its program headers have another size")
    found = []
    for number in range(count):
        kind, flags, offset, vaddr, _, filesz, memsz, align = struct.unpack_from(
            "<IIQQQQQQ", view, start + 56 * number
        )
        found.append(
            _Header(
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


class _Memory:
    """A file's PT_LOADs, as the loader maps them."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.headers = _headers(view)
        self.loads = [one for one in self.headers if one.type == _LOAD]

    def load_at(self, vaddr: int) -> _Header | None:
        return next((one for one in self.loads if one.vaddr <= vaddr < one.end), None)

    def at(self, vaddr: int, size: int) -> bytes:
        """`size` bytes that the file backs."""
        for one in self.loads:
            if one.vaddr <= vaddr and vaddr + size <= one.vaddr + one.filesz:
                start = one.offset + vaddr - one.vaddr
                return bytes(self.view[start : start + size])
        raise _DifferenceError(f"nothing is loaded at {vaddr:#x}")

    def string(self, vaddr: int) -> bytes:
        """The bytes up to the zero byte."""
        for one in self.loads:
            if one.vaddr <= vaddr < one.vaddr + one.filesz:
                start = one.offset + vaddr - one.vaddr
                end = min(one.offset + one.filesz, start + _CHUNK)
                return bytes(self.view[start:end]).partition(b"\0")[0]
        raise _DifferenceError(f"nothing is loaded at {vaddr:#x}")

    def dynamic(self) -> list[tuple[int, int]]:
        header = next((one for one in self.headers if one.type == _DYNAMIC), None)
        if header is None:
            raise _DifferenceError("it has no dynamic section")
        data = self.at(header.vaddr, header.filesz // 16 * 16)
        entries: list[tuple[int, int]] = []
        for tag, value in struct.iter_unpack("<qQ", data):
            if tag == 0:
                return entries
            entries.append((tag, value))
        raise _DifferenceError("its dynamic section does not end")


def _compare(before: memoryview, after: memoryview) -> None:
    old, new = _Memory(before), _Memory(after)
    _check_loadable(new)
    _check_dynamic(old, new)
    _check_other_headers(old, new)
    index = _Index(new, hashlib.sha256(before).digest())
    renamed = _Renamed(old, new)
    for load in old.loads:
        _check_load(load, old, new, index, renamed)
    renamed.check_versions()
    for window in range(index.window_count):
        for vaddr, data in index.pages(window):
            for at in range(0, len(data), _CHUNK):
                piece = data[at : at + _CHUNK]
                if old.at(vaddr + at, len(piece)) != piece:
                    raise _DifferenceError(f"its code differs in the 64 kB from {vaddr + at:#x}")


def _check_loadable(new: _Memory) -> None:
    """What glibc takes for granted (elf/dl-load.c), and that it will find the program headers."""
    end = 0
    (table,) = struct.unpack_from("<Q", new.view, 32)
    first = True
    homes = []
    for one in new.loads:
        if one.align != _PAGE or (one.vaddr - one.offset) % _PAGE:
            raise _DifferenceError("a segment's offset does not agree with its address")
        if one.offset + one.filesz > len(new.view) or one.filesz > one.memsz:
            raise _DifferenceError("a segment is not in the file")
        if one.vaddr < end or one.vaddr // _PAGE < -(-end // _PAGE):
            raise _DifferenceError("two segments share a page")
        if first and one.offset != 0:
            raise _DifferenceError("the ELF header is not in the first segment")
        first = False
        end = one.end
        start = one.offset // _PAGE * _PAGE
        stop = -(-(one.offset + one.filesz) // _PAGE) * _PAGE
        if one.filesz and start < table + 56 * len(new.headers) and table < stop:
            homes.append(one)
    if len(homes) != 1 or homes[0].flags != 4:
        raise _DifferenceError("the program headers are not on a read-only page of their own")
    home = homes[0]
    for one in new.headers:
        if one.type == _PHDR and one.vaddr != home.vaddr + table - home.offset:
            raise _DifferenceError("PT_PHDR does not tell where the program headers are")


def _check_dynamic(old: _Memory, new: _Memory) -> None:
    before, after = old.dynamic(), new.dynamic()
    strings = dict(before).get(_STRTAB, 0)
    needed = [at for at, (tag, _) in enumerate(after) if tag == 1]
    if not needed or new.string(strings + after[needed[0]][1]) != _PAGER:
        raise _DifferenceError("the pager is not the first library that it needs")
    del after[needed[0]]
    if not dict(after).get(_FLAGS_1, 0) & _NODELETE:
        raise _DifferenceError("it could be unloaded")
    if not next(h for h in new.headers if h.type == _DYNAMIC).flags & 2:
        raise _DifferenceError("the loader could not write to its dynamic section")
    for tag, value in after:
        if tag in (_RPATH, _RUNPATH) and (tag, value) not in before:
            path = new.string(strings + value)
            paths = [new.string(strings + value) for one, value in before if one == tag]
            # The last counts, as for the loader.
            if paths and not path.startswith(paths[-1] + b":"):
                raise _DifferenceError("its search path is another")
    flags = dict(before).get(_FLAGS_1, 0) | _NODELETE
    own = (_RPATH, _RUNPATH, _FLAGS_1)
    if dict(after)[_FLAGS_1] != flags or [e for e in before if e[0] not in own] != [
        e for e in after if e[0] not in own
    ]:
        raise _DifferenceError("its dynamic section differs")
    for tag in (_RPATH, _RUNPATH):
        if tag in dict(before) and tag not in dict(after):
            raise _DifferenceError("its search path is missing")


def _check_other_headers(old: _Memory, new: _Memory) -> None:
    """Program headers that are not ours, nor about segments, the table, or the dynamic section."""
    ours = (_LOAD, _DYNAMIC, _PHDR, _OURS)

    def shape(memory: _Memory) -> list[tuple[int, ...]]:
        return [
            (one.type, one.flags, one.vaddr, one.filesz, one.memsz, one.align)
            for one in memory.headers
            if one.type not in ours
        ]

    if shape(old) != shape(new):
        raise _DifferenceError("its program headers differ")
    for one in new.headers:
        if one.type in (_LOAD, _OURS) or not one.filesz:
            continue
        load = new.load_at(one.vaddr)
        if load is not None and one.offset - load.offset != one.vaddr - load.vaddr:
            raise _DifferenceError("a program header's offset does not agree with its address")


class _Index:
    """The index, and the pages that it restores."""

    def __init__(self, new: _Memory, source: bytes) -> None:
        found = [one for one in new.headers if one.type == _OURS]
        if len(found) != 1:
            raise _DifferenceError("it has no index, or two")
        data = new.at(found[0].vaddr, found[0].filesz)
        self._data = data
        magic, version, check, size, digest, self._frames, self._frames_size = struct.unpack_from(
            "<8sIIQ32sQQ", data
        )
        pages, ranges, self.window_count, self._run_count = struct.unpack_from("<4I", data, 72)
        at_ranges, at_pages, self._windows, self._runs = struct.unpack_from("<4I", data, 88)
        self._filter, self._bits, name, largest = struct.unpack_from("<4I", data, 104)
        if (magic, version, size) != (b"LAYERPAK", 1, len(data)):
            raise _DifferenceError("its index is not one")
        if _xxh64(data[16:]) != check:
            raise _DifferenceError("its index is damaged")
        if digest != source:
            raise _DifferenceError("it was made from another file")
        if self._filter not in (0, 1, 2) or b"\0" not in data[name:]:
            raise _DifferenceError("its index has an unknown filter, or no name")
        self._new = new
        self.ranges: list[tuple[int, int, int]] = []  # first page, vaddr, flags
        self.extents: list[tuple[int, int, int]] = []  # vaddr, end, flags
        self._page_count = 0
        for number in range(ranges):
            vaddr, count, first, flags, _ = struct.unpack_from(
                "<QIIII", data, at_ranges + 24 * number
            )
            if first != self._page_count or vaddr % _PAGE or count == 0:
                raise _DifferenceError("its ranges are not in order")
            self.ranges.append((first, vaddr, flags))
            self.extents.append((vaddr, vaddr + count * _PAGE, flags))
            self._page_count += count
        if any(one[1] > other[0] for one, other in pairwise(self.extents)):
            raise _DifferenceError("its ranges overlap")
        if self._page_count != pages:
            raise _DifferenceError("its pages do not add up")
        self._check_windows(at_pages, largest)
        for vaddr, end, _ in self.extents:
            if any(
                one.vaddr // _PAGE * _PAGE < end and vaddr < -(-one.end // _PAGE) * _PAGE
                for one in new.loads
            ):
                raise _DifferenceError("a page is mapped and absent as well")

    def _check_windows(self, at_pages: int, largest: int) -> None:
        """Every page is in one window, and the pages' table says so."""
        table = memoryview(self._data)[at_pages : at_pages + 4 * self._page_count].cast("I")
        owner = [-1] * self._page_count
        most = 0
        for window in range(self.window_count):
            raw = 0
            before = -1
            for page, count in self._runs_of(window):
                raw += count * _PAGE
                if page <= before or page + count > self._page_count or not count:
                    raise _DifferenceError("a window's runs are not in order")
                before = page + count - 1
                for number in range(page, page + count):
                    if owner[number] != -1:
                        raise _DifferenceError("a page is in two windows")
                    owner[number] = window
            if raw != self._window(window)[2]:
                raise _DifferenceError("a window has another size than its runs")
            most = max(most, raw)
        if owner != table.tolist() or most != largest:
            raise _DifferenceError("a page is in no window, or not in the one that its table names")

    def _window(self, number: int) -> tuple[int, ...]:
        return struct.unpack_from("<QIIII", self._data, self._windows + 24 * number)

    def _runs_of(self, number: int) -> Iterator[tuple[int, int]]:
        first = self._window(number)[3]
        last = number + 1 == self.window_count
        for run in range(first, self._run_count if last else self._window(number + 1)[3]):
            page, count = struct.unpack_from("<II", self._data, self._runs + 8 * run)
            yield page, count

    def pages(self, number: int) -> Iterator[tuple[int, bytes]]:
        """A window's runs, as (address, bytes), as the pager would place them."""
        offset, size, raw, _, check = self._window(number)
        if offset + size > self._frames_size:
            raise _DifferenceError("a window lies outside the frames")
        frame = self._new.at(self._frames + offset, size)
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size != raw or not parameters.has_checksum:
            raise _DifferenceError("a frame has another size, or no checksum")
        data = _decompressor.decompress(frame, read_across_frames=False, allow_extra_data=False)
        parts = []
        at = 0
        for page, count in self._runs_of(number):
            first, vaddr, flags = next(r for r in reversed(self.ranges) if r[0] <= page)
            vaddr += (page - first) * _PAGE
            part = data[at : at + count * _PAGE]
            if not any(s <= vaddr and vaddr + len(part) <= e for s, e, _ in self.extents):
                raise _DifferenceError("a run crosses from one range into another")
            if flags & 1:
                part = decode(part, vaddr, self._filter, self._bits)
            parts.append((vaddr, part))
            at += count * _PAGE
        if _xxh64(b"".join(part for _, part in parts)) != check:
            raise _DifferenceError("a window's checksum is wrong")
        yield from parts


_decompressor = zstandard.ZstdDecompressor()
_compressor = zstandard.ZstdCompressor(level=-50, write_checksum=True)


def _xxh64(data: bytes) -> int:
    """Its low 32 bits, which end a zstd frame with a checksum (RFC 8878, 3.1.1)."""
    return int.from_bytes(_compressor.compress(data)[-4:], "little")


class _Renamed:
    """Differences that are imports' new names, and the lack of a version that goes with each."""

    def __init__(self, old: _Memory, new: _Memory) -> None:
        self._old, self._new = old, new
        dynamic = dict(old.dynamic())
        self._strings = dynamic.get(_STRTAB, 0)
        self._symbols = dynamic.get(_SYMTAB)
        self._versions = dynamic.get(_VERSYM)
        self._names: set[int] = set()

    def explains(self, vaddr: int) -> bool:
        """Whether the byte at `vaddr` may differ, since an import has another name."""
        if self._versions is not None and vaddr >= self._versions:
            number = (vaddr - self._versions) // 2
            if number in self._names or self._renames(number):
                return self._new.at(self._versions + 2 * number, 2) == b"\1\0"
        if self._symbols is not None and vaddr >= self._symbols:
            number = (vaddr - self._symbols) // 24
            return (vaddr - self._symbols) % 24 < 4 and self._renames(number)
        return False

    def _renames(self, number: int) -> bool:
        if self._symbols is None:
            return False
        at = self._symbols + 24 * number
        try:
            before, after = self._old.at(at, 24), self._new.at(at, 24)
            names = [
                memory.string(self._strings + int.from_bytes(symbol[:4], "little"))
                for memory, symbol in ((self._old, before), (self._new, after))
            ]
        except _DifferenceError:
            return False
        good = (
            before[6:8] == b"\0\0"
            and before[4:] == after[4:]
            and names[0] in _IMPORTS
            and names[1] == b"layerpack_" + names[0].lstrip(b"_")
        )
        if good:
            self._names.add(number)
        return good

    def check_versions(self) -> None:
        """A renamed import that still asks libc for a version would not be found."""
        for number in self._names if self._versions is not None else ():
            assert self._versions is not None  # noqa: S101
            if self._new.at(self._versions + 2 * number, 2) != b"\1\0":
                raise _DifferenceError("a renamed import has a version")


def _check_load(
    load: _Header, old: _Memory, new: _Memory, index: _Index, renamed: _Renamed
) -> None:
    """All bytes and rights of a PT_LOAD that the new file maps; what is absent is in the index."""
    at = load.vaddr
    while at < load.end:
        hole = next(((s, e, f) for s, e, f in index.extents if s <= at < e), None)
        if hole is not None:
            if hole[1] > load.vaddr + load.filesz or hole[2] & ~load.flags or hole[2] & 2:
                raise _DifferenceError("a page would get rights that it never had")
            at = hole[1]
            continue
        piece = new.load_at(at)
        if piece is None or piece.flags != load.flags or piece.end > load.end:
            raise _DifferenceError(f"the segment at {load.vaddr:#x} is mapped in another way")
        stop = min(piece.vaddr + piece.filesz, load.vaddr + load.filesz)
        for start in range(at, stop, _CHUNK):
            size = min(_CHUNK, stop - start)
            before, after = old.at(start, size), new.at(start, size)
            if before != after:
                _check_bytes(start, before, after, load, renamed)
        if piece.vaddr + piece.filesz < piece.end and piece.vaddr + piece.filesz < (
            load.vaddr + load.filesz
        ):
            raise _DifferenceError("bytes became zeroes")
        at = piece.end


def _check_bytes(start: int, before: bytes, after: bytes, load: _Header, renamed: _Renamed) -> None:
    for at in range(len(before)):
        if before[at] != after[at]:
            offset = load.offset + start + at - load.vaddr
            if any(offset in one for one in _HEADER_CHANGES):
                continue
            if not renamed.explains(start + at):
                raise _DifferenceError(f"the byte at {start + at:#x} differs")
