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
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import zstandard

from layerpack.elf.drops import NO_DROPS, Drops
from layerpack.elf.readback import (
    CHUNK,
    DYNAMIC,
    LOAD,
    OURS,
    PAGE,
    PHDR,
    DifferenceError,
    Header,
    Memory,
    PagedIndex,
)
from layerpack.elf.readback_data import DataBlocks

_STRTAB, _SYMTAB, _INIT, _RPATH, _RUNPATH = 5, 6, 12, 15, 29
_FLAGS_1, _VERSYM = 0x6FFFFFFB, 0x6FFFFFF0
# Fields of the ELF header that say where tables are: e_phoff and e_shoff, then e_phnum,
# e_shnum and e_shstrndx.
_HEADER_CHANGES: Final = (range(32, 48), range(56, 58), range(60, 64))
_IMPORTS: Final = frozenset(
    b"signal bsd_signal sysv_signal __sysv_signal sigaction __sigaction sigset ssignal sigaltstack "
    b"sigsuspend __sigsuspend pthread_sigmask sigprocmask ppoll __ppoll_chk pselect epoll_pwait "
    b"epoll_pwait2 setcontext swapcontext pthread_attr_setsigmask_np sigblock sigsetmask "
    b"siggetmask sighold sigrelse sigignore siginterrupt sigpause __xpg_sigpause".split()
)
#: With a signal or a mask, as its second argument says: unlike sigpause.
_EITHER: Final = (b"__sigpause", b"layerpack_sigpause_either")
_PAGER: Final = b"liblayerpack_pager.so.1"
_NODELETE: Final = 8
_AARCH64: Final = 183


def verify(original: Path, packed: Path, drops: Drops = NO_DROPS) -> str | None:
    """Why `packed` would not be the same library in memory as `original` without `drops`; None if
    it is.

    The reason reads after "it would not be the same: ". Raises OSError.
    """
    try:
        with original.open("rb") as one, packed.open("rb") as other:
            if not original.stat().st_size or not packed.stat().st_size:
                return "a file is empty"
            # Not closed here: the frames of an error may still look into them.
            before = memoryview(mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ))
            after = memoryview(mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ))
        source = hashlib.sha256(before).digest()
        _compare(_without(before, drops), after, source)
    except DifferenceError as error:
        return str(error)
    except (struct.error, zstandard.ZstdError, OverflowError) as error:
        return f"it is damaged ({error})"
    return None


def _without(before: memoryview, drops: Drops) -> memoryview:
    """The expected library, computed from the description of the removed code alone."""
    if not drops:
        return before
    data = bytearray(before)
    loads = Memory(before).loads
    arm = int.from_bytes(before[18:20], "little") == _AARCH64
    filler = struct.pack("<II", 0x10000010, 0xD61F03E0) if arm else b"\xf4\xf4"
    changes = [(one.vaddr, one.data) for one in drops.patches]
    for one in drops.dropped:
        size = one.end - one.start
        changes.append((one.start, (filler * (size // 2 + 1))[:size]))
    changes += [(start, bytes(end - start)) for start, end in drops.cleared]
    changes += [(one.vaddr, one.data) for one in drops.laid]
    changes += [(probe, filler[:1]) for probe in drops.probes]
    for vaddr, new in changes:
        home = next((h for h in loads if h.vaddr <= vaddr < h.vaddr + h.filesz), None)
        if home is None or vaddr + len(new) > home.vaddr + home.filesz:
            raise DifferenceError("it leaves out what is not loaded")
        at = home.offset + vaddr - home.vaddr
        data[at : at + len(new)] = new
    return memoryview(data)


def _compare(before: memoryview, after: memoryview, source: bytes) -> None:
    old, new = Memory(before), Memory(after)
    _check_loadable(new, max((load.align for load in old.loads), default=PAGE))
    _check_dynamic(old, new)
    _check_other_headers(old, new)
    _check_new_loads(old, new)
    index = PagedIndex(new, source)
    blocks = DataBlocks(index, new)
    blocks.check_start(old)
    absent = sorted([*index.extents, *blocks.extents])
    # That loads do not overlap is checked with them.
    holes = _joined((one.vaddr, one.end) for one in new.loads if one.is_hole)
    if holes != _joined((vaddr, end) for vaddr, end, _ in absent):
        raise DifferenceError("its holes are not the pages that are absent")
    renamed = _Renamed(old, new)
    for load in old.loads:
        _check_load(load, old, new, absent, renamed)
    renamed.check_versions()
    for window in range(index.window_count):
        _check_pages(old, index.pages(window), "code")
    _check_pages(old, blocks.pages(), "data")


def _joined(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending extents, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in extents:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def _check_pages(old: Memory, pages: Iterable[tuple[int, bytes]], what: str) -> None:
    for vaddr, data in pages:
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            if old.at(vaddr + at, len(piece)) != piece:
                raise DifferenceError(f"its {what} differs in the 64 kB from {vaddr + at:#x}")


def _check_loadable(new: Memory, largest: int) -> None:
    """What glibc takes for granted (elf/dl-load.c), and that it will find the program headers.

    The first segment asks for the `largest` alignment of the original's, where it can.
    """
    end = 0
    (table,) = struct.unpack_from("<Q", new.view, 32)
    first = True
    homes = []
    for one in new.loads:
        at_start = first and one.vaddr == one.offset == 0
        if (
            one.align != (max(largest, PAGE) if at_start else PAGE)
            or (one.vaddr - one.offset) % PAGE
        ):
            raise DifferenceError("a segment's offset does not agree with its address")
        if one.offset + one.filesz > len(new.view) or one.filesz > one.memsz:
            raise DifferenceError("a segment is not in the file")
        if one.vaddr < end or one.vaddr // PAGE < -(-end // PAGE):
            raise DifferenceError("two segments share a page")
        if first and one.offset != 0:
            raise DifferenceError("the ELF header is not in the first segment")
        first = False
        end = one.end
        start = one.offset // PAGE * PAGE
        stop = -(-(one.offset + one.filesz) // PAGE) * PAGE
        if one.is_hole and (one.offset or one.vaddr % PAGE):
            raise DifferenceError("a hole is not made of pages")
        if one.filesz and start < table + 56 * len(new.headers) and table < stop:
            homes.append(one)
    if len(homes) != 1 or homes[0].flags != 4:
        raise DifferenceError("the program headers are not on a read-only page of their own")
    home = homes[0]
    for one in new.headers:
        if one.type == PHDR and one.vaddr != home.vaddr + table - home.offset:
            raise DifferenceError("PT_PHDR does not tell where the program headers are")


def _check_dynamic(old: Memory, new: Memory) -> None:
    before, after = old.dynamic(), new.dynamic()
    strings = dict(before).get(_STRTAB, 0)
    needed = [at for at, (tag, _) in enumerate(after) if tag == 1]
    if not needed or new.string(strings + after[needed[-1]][1]) != _PAGER:
        raise DifferenceError("the pager is not the last library that it needs")
    del after[needed[-1]]
    if not dict(after).get(_FLAGS_1, 0) & _NODELETE:
        raise DifferenceError("it could be unloaded")
    if not next(h for h in new.headers if h.type == DYNAMIC).flags & 2:
        raise DifferenceError("the loader could not write to its dynamic section")
    for tag, value in after:
        if tag in (_RPATH, _RUNPATH) and (tag, value) not in before:
            path = new.string(strings + value)
            paths = [new.string(strings + value) for one, value in before if one == tag]
            # The last counts, as for the loader.
            turns_off = tag == _RUNPATH and not paths and _RPATH in dict(before)
            if turns_off or (paths and not path.startswith(paths[-1] + b":")):
                raise DifferenceError("its search path is another")
    flags = dict(before).get(_FLAGS_1, 0) | _NODELETE
    own = (_RPATH, _RUNPATH, _FLAGS_1, _INIT)
    if dict(after)[_FLAGS_1] != flags or [e for e in before if e[0] not in own] != [
        e for e in after if e[0] not in own
    ]:
        raise DifferenceError("its dynamic section differs")
    for tag in (_RPATH, _RUNPATH):
        if tag in dict(before) and tag not in dict(after):
            raise DifferenceError("its search path is missing")


def _check_other_headers(old: Memory, new: Memory) -> None:
    """Program headers that are not ours, nor about segments, the table, or the dynamic section."""
    ours = (LOAD, DYNAMIC, PHDR, OURS)

    def shape(memory: Memory) -> list[tuple[int, ...]]:
        return [
            (one.type, one.flags, one.vaddr, one.filesz, one.memsz, one.align)
            for one in memory.headers
            if one.type not in ours
        ]

    if shape(old) != shape(new):
        raise DifferenceError("its program headers differ")
    flags = {one.type: one.flags for one in old.headers if one.type in (DYNAMIC, PHDR)}
    for one in new.headers:
        if one.type in (DYNAMIC, PHDR, OURS) and (
            one.flags != flags.get(one.type, 4) or one.filesz != one.memsz or one.align != 8
        ):
            raise DifferenceError("a program header of its own is not as it should be")
        if one.type == LOAD or not one.filesz:
            continue
        load = new.load_at(one.vaddr)
        if load is None or load.is_hole:
            # Absent, so only its address counts; tools should still find it within the file.
            good = one.offset == one.vaddr % PAGE
        else:
            good = one.offset - load.offset == one.vaddr - load.vaddr
        if not good:
            raise DifferenceError("a program header's offset does not agree with its address")


def _check_new_loads(old: Memory, new: Memory) -> None:
    """Behind all that was there: one that is written, for the dynamic section, perhaps one with a
    starter (see `DataBlocks`), and one that is only read."""
    end = max(one.end for one in old.loads)
    found = [one for one in new.loads if one.vaddr >= end]
    if [one.flags for one in found] not in ([6, 4], [6, 5, 4]) or any(
        one.filesz != one.memsz for one in found
    ):
        raise DifferenceError("its new segments are not as they should be")
    section = next(one for one in new.headers if one.type == DYNAMIC)
    if (section.vaddr, section.filesz) != (found[0].vaddr, found[0].filesz):
        raise DifferenceError("its dynamic section has no segment of its own")


class _Renamed:
    """Differences that are imports' new names, and the lack of a version that goes with each."""

    def __init__(self, old: Memory, new: Memory) -> None:
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
        except DifferenceError:
            return False
        good = (
            before[6:8] == b"\0\0"
            and before[4:] == after[4:]
            and (
                tuple(names) == _EITHER
                or (names[0] in _IMPORTS and names[1] == b"layerpack_" + names[0].lstrip(b"_"))
            )
        )
        if good:
            self._names.add(number)
        return good

    def check_versions(self) -> None:
        """A renamed import that still asks libc for a version would not be found."""
        for number in self._names if self._versions is not None else ():
            assert self._versions is not None  # noqa: S101
            if self._new.at(self._versions + 2 * number, 2) != b"\1\0":
                raise DifferenceError("a renamed import has a version")


def _check_load(
    load: Header,
    old: Memory,
    new: Memory,
    absent: list[tuple[int, int, int]],
    renamed: _Renamed,
) -> None:
    """All bytes and rights of a PT_LOAD that the new file maps; what is absent is in the index."""
    at = load.vaddr
    while at < load.end:
        hole = next(((s, e, f) for s, e, f in absent if s <= at < e), None)
        if hole is not None:
            if hole[1] > load.vaddr + load.filesz or hole[2] & ~load.flags or hole[2] not in (4, 5):
                raise DifferenceError("a page would get rights that it never had")
            at = hole[1]
            continue
        piece = new.load_at(at)
        if piece is None or piece.flags != load.flags or piece.end > load.end:
            raise DifferenceError(f"the segment at {load.vaddr:#x} is mapped in another way")
        stop = min(piece.vaddr + piece.filesz, load.vaddr + load.filesz)
        for start in range(at, stop, CHUNK):
            size = min(CHUNK, stop - start)
            before, after = old.at(start, size), new.at(start, size)
            if before != after:
                _check_bytes(start, before, after, load, renamed)
        if piece.vaddr + piece.filesz < piece.end and piece.vaddr + piece.filesz < (
            load.vaddr + load.filesz
        ):
            raise DifferenceError("bytes became zeroes")
        at = piece.end


def _check_bytes(start: int, before: bytes, after: bytes, load: Header, renamed: _Renamed) -> None:
    for at in range(len(before)):
        if before[at] != after[at]:
            offset = load.offset + start + at - load.vaddr
            if any(offset in one for one in _HEADER_CHANGES):
                continue
            if not renamed.explains(start + at):
                raise DifferenceError(f"the byte at {start + at:#x} differs")
