"""The dynamic section: what the loader reads of a library, and what changes when it is packed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.read import Segment, SharedObject
from layerpack.elf.redirected import redirected

#: The soname of the library that every packed one needs.
PAGER: Final = "liblayerpack_pager.so.1"
#: Null entries that GNU ld leaves too, for those who patch a library later.
_SPARE: Final = 5
_LONGEST_NAME: Final = 1 << 16
_LONGEST_CHAIN: Final = 1 << 16


class Image:
    """The memory that a library's file backs, by (unrelocated) virtual address."""

    def __init__(self, view: memoryview, loads: tuple[Segment, ...]) -> None:
        self._view = view
        self._loads = loads

    def offset(self, vaddr: int, size: int) -> int:
        """Where `size` bytes lie in the file; raises ElfError where one segment does not hold them
        all."""
        for load in self._loads:
            if size >= 0 and load.holds(vaddr, size):
                return load.offset + vaddr - load.vaddr
        raise ElfError(f"nothing is loaded at {vaddr:#x}")

    def bytes_at(self, vaddr: int, size: int) -> memoryview:
        """`size` bytes; raises ElfError as `offset` does."""
        start = self.offset(vaddr, size)
        return self._view[start : start + size]

    def words(self, vaddr: int, count: int, size: int = 4) -> memoryview:
        """`count` numbers of 4 or 8 bytes."""
        # Copied, since cast() wants a view that nobody sliced to an odd shape before.
        data = memoryview(bytes(self.bytes_at(vaddr, count * size)))
        return data.cast("I" if size == 4 else "Q")

    def string(self, vaddr: int) -> bytes:
        """The bytes up to the zero byte."""
        load = next((load for load in self._loads if load.holds(vaddr, 1)), None)
        if load is not None:
            start = load.offset + vaddr - load.vaddr
            end = min(load.offset + load.filesz, start + _LONGEST_NAME)
            for at in range(start, end, 64):
                zero = bytes(self._view[at : min(at + 64, end)]).find(b"\0")
                if zero >= 0:
                    return bytes(self._view[start : at + zero])
        raise ElfError("a name does not end")


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """An undefined symbol that the pager answers for: its place in the symbol table, its name, and
    the name of the pager's version."""

    symbol: int
    name: str
    redirected: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dynamic:
    """A dynamic section. `entries` are (tag, value) without the null at the end; `reads` are the
    extents (start, end) that the loader reads before constructors run; `calls_early` tells
    whether it also calls functions of the library by then (IFUNC resolvers)."""

    vaddr: int
    entries: tuple[tuple[int, int], ...]
    reads: tuple[tuple[int, int], ...]
    imports: tuple[Import, ...]
    calls_early: bool

    def value(self, tag: int) -> int | None:
        """A tag's value: its last, as glibc has it."""
        return dict(self.entries).get(tag)


def read_dynamic(view: memoryview, source: SharedObject) -> Dynamic:
    """The dynamic section and its tables. Raises ElfError where they are malformed."""
    segment = next((s for s in source.segments if s.type == elf.PT_DYNAMIC), None)
    if segment is None:
        raise ElfError("it has no dynamic section")
    image = Image(view, source.loads)
    size = segment.filesz - segment.filesz % elf.DYNAMIC.size
    entries: list[tuple[int, int]] = []
    for tag, value in elf.DYNAMIC.iter_unpack(image.bytes_at(segment.vaddr, size)):
        if tag == elf.DT_NULL:
            break
        entries.append((tag, value))
    values = dict(entries)
    machine = elf.EM_X86_64 if source.machine == "x86_64" else elf.EM_AARCH64
    relocated = _relocation_symbols(image, values)
    hashes, count = _hash_tables(image, values)
    count = max(count, relocated.symbols)
    symbols = _Symbols(image, values, count)
    return Dynamic(
        vaddr=segment.vaddr,
        entries=tuple(entries),
        reads=(*_extents(values, count), *hashes, *_version_extents(image, values)),
        imports=tuple(symbols.imports()),
        calls_early=elf.IRELATIVE[machine] in relocated.types or symbols.have_resolvers(),
    )


def plt_targets(view: memoryview, source: SharedObject, dynamic: Dynamic) -> Iterator[int]:
    """Where the PLT is: addresses in it that lazily bound GOT words hold before relocation."""
    image = Image(view, source.loads)
    start, size = dynamic.value(elf.DT_JMPREL), dynamic.value(elf.DT_PLTRELSZ)
    if start is None or not size:
        return
    for offset in image.words(start, size // elf.RELA.size * 3, 8)[::3]:
        try:
            yield image.words(offset, 1, 8)[0]
        except ElfError:
            continue


def rewritten(
    dynamic: Dynamic, *, needed: int, path: tuple[int, int] | None, start: int | None = None
) -> bytes:
    """The dynamic section of the packed library.

    `needed` is the string offset of the pager's soname; `path` the tag (DT_RPATH or DT_RUNPATH)
    and string offset of the library's new search path, if it gets one; `start` the address of what
    runs before its constructors, if that is new.
    """
    entries = [*dynamic.entries]
    # The last of those that it needs, as the loader initialises them from the end: their
    # constructors may call back into this library. The pager's names are nobody else's.
    places = [at for at, (tag, _) in enumerate(entries) if tag == elf.DT_NEEDED]
    entries.insert(places[-1] + 1 if places else 0, (elf.DT_NEEDED, needed))
    # Never unmapped, so what the pager knows of it stays true.
    flags = (dynamic.value(elf.DT_FLAGS_1) or 0) | elf.DF_1_NODELETE
    new = [(elf.DT_FLAGS_1, flags), *((path,) if path else ())]
    if start is not None:
        new.append((elf.DT_INIT, start))
    for tag, value in new:
        if any(one == tag for one, _ in entries):
            entries = [(one, value if one == tag else old) for one, old in entries]
        else:
            entries.append((tag, value))
    rows = [elf.DYNAMIC.pack(tag, value) for tag, value in entries]
    return b"".join(rows) + bytes(elf.DYNAMIC.size * (1 + _SPARE))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Relocated:
    types: frozenset[int]
    symbols: int


def _relocation_symbols(image: Image, values: dict[int, int]) -> _Relocated:
    types: set[int] = set()
    symbols = 0
    for start, size in ((elf.DT_RELA, elf.DT_RELASZ), (elf.DT_JMPREL, elf.DT_PLTRELSZ)):
        if start not in values or not values.get(size):
            continue
        count = values[size] // elf.RELA.size
        infos = image.words(values[start], count * 3, 8)[1::3].tolist()
        types.update({info & 0xFFFFFFFF for info in infos})
        symbols = max(symbols, max(infos, default=0) >> 32)
    return _Relocated(types=frozenset(types), symbols=symbols + 1)


def _hash_tables(image: Image, values: dict[int, int]) -> tuple[list[tuple[int, int]], int]:
    """The hash tables' extents, and how many symbols they tell of."""
    extents = []
    count = 0
    if elf.DT_HASH in values:
        start = values[elf.DT_HASH]
        buckets, chain = image.words(start, 2)
        extents.append((start, start + 8 + 4 * (buckets + chain)))
        count = chain
    if elf.DT_GNU_HASH in values:
        start = values[elf.DT_GNU_HASH]
        buckets, first, bloom, _ = image.words(start, 4)
        table = start + 16 + 8 * bloom
        last = max(image.words(table, buckets), default=0)
        chains = table + 4 * buckets
        end = chains
        if last >= first:
            # The chain's last entry has its lowest bit set.
            for last in range(last, last + _LONGEST_CHAIN):  # noqa: B020
                if image.words(chains + 4 * (last - first), 1)[0] & 1:
                    break
            end = chains + 4 * (last - first + 1)
            count = max(count, last + 1)
        extents.append((start, end))
        count = max(count, first if last < first else 0)
    return extents, count


def _extents(values: dict[int, int], symbols: int) -> list[tuple[int, int]]:
    """The tables whose sizes the section tells, and those with an entry for each symbol."""
    extents = []
    for tag, size in (
        (elf.DT_STRTAB, values.get(elf.DT_STRSZ, 0)),
        (elf.DT_SYMTAB, symbols * elf.SYMBOL.size),
        (elf.DT_VERSYM, symbols * 2),
        (elf.DT_RELA, values.get(elf.DT_RELASZ, 0)),
        (elf.DT_JMPREL, values.get(elf.DT_PLTRELSZ, 0)),
        (elf.DT_RELR, values.get(elf.DT_RELRSZ, 0)),
        (elf.DT_INIT_ARRAY, values.get(elf.DT_INIT_ARRAYSZ, 0)),
        (elf.DT_FINI_ARRAY, values.get(elf.DT_FINI_ARRAYSZ, 0)),
        # Sixteen bytes of .init and .fini do for their page to stay.
        (elf.DT_INIT, 16),
        (elf.DT_FINI, 16),
    ):
        if tag in values:
            extents.append((values[tag], values[tag] + max(size, 1)))
    return extents


def _version_extents(image: Image, values: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Version records point at one another by distances; `read` has set bounds to their number."""
    needs = (values.get(elf.DT_VERNEED), values.get(elf.DT_VERNEEDNUM, 0))
    for vaddr, row in _chain(image, *needs, elf.VERNEED):
        yield vaddr, vaddr + elf.VERNEED.size
        for entry, _ in _chain(image, vaddr + row[3], row[1], elf.VERNAUX):
            yield entry, entry + elf.VERNAUX.size
    definitions = (values.get(elf.DT_VERDEF), values.get(elf.DT_VERDEFNUM, 0))
    for vaddr, row in _chain(image, *definitions, elf.VERDEF):
        yield vaddr, vaddr + elf.VERDEF.size
        for entry, _ in _chain(image, vaddr + row[5], row[3], elf.VERDAUX):
            yield entry, entry + elf.VERDAUX.size


def _chain(
    image: Image, vaddr: int | None, count: int, record: struct.Struct
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Records with their addresses; the last field of each is the step to its successor."""
    for _ in range(count if vaddr is not None else 0):
        row = record.unpack(image.bytes_at(vaddr or 0, record.size))
        yield vaddr or 0, row
        if row[-1] == 0:
            return
        vaddr = (vaddr or 0) + row[-1]


class _Symbols:
    """The dynamic symbol table."""

    def __init__(self, image: Image, values: dict[int, int], count: int) -> None:
        self._image = image
        self._strings = values.get(elf.DT_STRTAB)
        self._rows = b""
        if elf.DT_SYMTAB in values:
            self._rows = bytes(image.bytes_at(values[elf.DT_SYMTAB], count * elf.SYMBOL.size))
        self._versions: list[int] = []
        if elf.DT_VERSYM in values and count:
            data = image.bytes_at(values[elf.DT_VERSYM], count * 2)
            self._versions = memoryview(bytes(data)).cast("H").tolist()
        self._needs = (values.get(elf.DT_VERNEED), values.get(elf.DT_VERNEEDNUM, 0))

    def have_resolvers(self) -> bool:
        """Whether one is an IFUNC that this library defines."""
        return any(
            info & 15 == elf.STT_GNU_IFUNC and section != elf.SHN_UNDEF
            for _, info, _, section, _, _ in elf.SYMBOL.iter_unpack(self._rows)
        )

    def imports(self) -> Iterator[Import]:
        """The undefined functions that the pager answers for."""
        names = redirected()
        for number, row in enumerate(elf.SYMBOL.iter_unpack(self._rows)):
            name_at, info, _, section, _, _ = row
            if section != elf.SHN_UNDEF or info & 15 not in (elf.STT_NOTYPE, elf.STT_FUNC):
                continue
            if self._strings is None:
                raise ElfError("it has names but no string table")
            name = self._image.string(self._strings + name_at).decode("ascii", "replace")
            if name in names and self._is_glibcs(number):
                yield Import(symbol=number, name=name, redirected=names[name])

    def _is_glibcs(self, symbol: int) -> bool:
        """Whether the version that an import asks for is one of glibc's, or none is asked for."""
        # The highest bit marks a hidden version; 0 and 1 are none (LSB, "Symbol Versioning").
        wanted = self._versions[symbol] & 0x7FFF if self._versions else 0
        name = self._version_names.get(wanted)
        return wanted <= 1 or name is None or name.startswith(b"GLIBC_")

    @cached_property
    def _version_names(self) -> dict[int, bytes]:
        """The names of the versions that are asked for, by their numbers."""
        return {
            entry[2] & 0x7FFF: self._image.string((self._strings or 0) + entry[3])
            for vaddr, row in _chain(self._image, *self._needs, elf.VERNEED)
            for _, entry in _chain(self._image, vaddr + row[3], row[1], elf.VERNAUX)
        }
