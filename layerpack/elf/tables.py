"""A library's dynamic tables: symbols, strings, versions, relocations, and where they lie.

Read by the dynamic section alone, as the loader does. Names and values are those of the gABI
(chapter 5), of glibc's elf.h and of the processor supplements for x86_64 and aarch64.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.format import ElfError
from layerpack.elf.read import Segment, SharedObject, map_file, read

DT_PLTRELSZ: Final = 2
DT_HASH: Final = 4
DT_SYMTAB: Final = 6
DT_RELA: Final = 7
DT_RELASZ: Final = 8
DT_RELAENT: Final = 9
DT_STRSZ: Final = 10
DT_SYMENT: Final = 11
DT_REL: Final = 17
DT_PLTREL: Final = 20
DT_JMPREL: Final = 23
DT_GNU_HASH: Final = 0x6FFFFEF5
DT_VERSYM: Final = 0x6FFFFFF0
DT_RELACOUNT: Final = 0x6FFFFFF9
DT_AUXILIARY: Final = 0x7FFFFFFD
DT_FILTER: Final = 0x7FFFFFFF
#: Entries whose value is a string, as an offset into DT_STRTAB.
STRING_TAGS: Final = frozenset(
    {elf.DT_NEEDED, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH, DT_AUXILIARY, DT_FILTER}
)

#: name, info (binding << 4 | type), other (visibility in its low 2 bits), section, value, size.
SYMBOL: Final = struct.Struct("<IBBHQQ")
#: offset, info (symbol << 32 | type), addend.
RELA: Final = struct.Struct("<QQq")

STB_LOCAL: Final = 0
STB_GLOBAL: Final = 1
STB_WEAK: Final = 2
STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STT_TLS: Final = 6
STV_DEFAULT: Final = 0
STV_HIDDEN: Final = 2
STV_PROTECTED: Final = 3
SHN_UNDEF: Final = 0
#: From here on a symbol's section is no section: SHN_ABS, SHN_COMMON, SHN_XINDEX.
SHN_LORESERVE: Final = 0xFF00

# The loader takes more; real libraries stay below a million symbols.
_MOST_SYMBOLS = 1 << 24
_MOST_VERSION_RECORDS = 1 << 16
_MANGLED = re.compile(rb"_[ZR]")
_SPELLED = re.compile(rb"_[ZR]\w+\0")
Symbol = tuple[int, int, int, int, int, int]
Rela = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """`size` bytes of memory at address `start`."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size

    def overlaps(self, other: Range) -> bool:
        return self.start < other.end and other.start < self.end


class Memory:
    """The memory that a file backs, by virtual address."""

    def __init__(self, view: memoryview, loads: tuple[Segment, ...]) -> None:
        self._view = view
        self._loads = loads

    def home(self, vaddr: int, size: int) -> Segment:
        """The PT_LOAD that holds `size` bytes at `vaddr`. Raises ElfError where none does."""
        for load in self._loads:
            if load.holds(vaddr, size):
                return load
        raise ElfError(f"nothing is loaded at {vaddr:#x}")

    def at(self, vaddr: int, size: int) -> memoryview:
        """`size` bytes at `vaddr`; never fewer. Raises ElfError."""
        load = self.home(vaddr, size)
        start = load.offset + vaddr - load.vaddr
        return self._view[start : start + size]


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicTables:
    """The tables that the loader reads.

    `dynamic` are the dynamic section's entries up to DT_NULL, which begin at address
    `dynamic_at`; `symbols` are rows of SYMBOL, `names` their names, `versions` their entries in
    .gnu.version (None without one); `first_hashed` is the first symbol in DT_GNU_HASH (1 where
    there is only DT_HASH, which has them all); `ranges` says by dynamic tag where each table lies;
    `relocations` are DT_RELA's, `plt_relocations` DT_JMPREL's rows of RELA.
    """

    dynamic: tuple[tuple[int, int], ...]
    dynamic_at: int
    symbols: list[Symbol]
    names: list[bytes]
    versions: tuple[int, ...] | None
    strings: bytes
    first_hashed: int
    ranges: dict[int, Range]
    relocations: list[Rela]
    plt_relocations: list[Rela]


def read_tables(memory: Memory, source: SharedObject) -> DynamicTables:
    """Read the dynamic tables. Raises ElfError where they contradict one another."""
    dynamic_at, dynamic = _dynamic(memory, source)
    tags = dict(dynamic)
    repeated = {tag for tag, _ in dynamic if tag != elf.DT_NEEDED}
    if len(repeated) != sum(tag != elf.DT_NEEDED for tag, _ in dynamic):
        raise ElfError("its dynamic section says something twice")
    for tag, size in ((DT_SYMENT, SYMBOL.size), (DT_RELAENT, RELA.size), (DT_PLTREL, DT_RELA)):
        if tags.get(tag, size) != size:
            raise ElfError("its dynamic tables have entries of an unknown kind")
    for tag in (elf.DT_STRTAB, DT_STRSZ, DT_SYMTAB):
        if tag not in tags:
            raise ElfError("it has no dynamic symbols")
    ranges, count, first_hashed = _hash_ranges(memory, tags)
    ranges[DT_SYMTAB] = Range(start=tags[DT_SYMTAB], size=count * SYMBOL.size)
    ranges[elf.DT_STRTAB] = Range(start=tags[elf.DT_STRTAB], size=tags[DT_STRSZ])
    if DT_VERSYM in tags:
        ranges[DT_VERSYM] = Range(start=tags[DT_VERSYM], size=2 * count)
    for tag, number in (
        (elf.DT_VERNEED, elf.DT_VERNEEDNUM),
        (elf.DT_VERDEF, elf.DT_VERDEFNUM),
    ):
        if tag in tags:
            records = list(version_records(memory, tag, tags[tag], tags.get(number, 0)))
            end = max((at + size for at, size, _ in records), default=tags[tag])
            ranges[tag] = Range(start=tags[tag], size=end - tags[tag])
    for tag, size_tag in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        if tags.get(size_tag, 0):
            ranges[tag] = Range(start=tags.get(tag, 0), size=tags[size_tag])
    _check_apart([*ranges.values(), Range(start=dynamic_at, size=16 * (len(dynamic) + 1))])

    symbols = _symbols(memory, ranges[DT_SYMTAB])
    strings = _bytes(memory, ranges[elf.DT_STRTAB])
    versions = None
    if DT_VERSYM in ranges:
        versions = struct.unpack(f"<{count}H", memory.at(tags[DT_VERSYM], 2 * count))
    return DynamicTables(
        dynamic=dynamic,
        dynamic_at=dynamic_at,
        symbols=symbols,
        names=_names(symbols, strings),
        versions=versions,
        strings=strings,
        first_hashed=first_hashed,
        ranges=ranges,
        relocations=_relas(memory, ranges.get(DT_RELA), count),
        plt_relocations=_relas(memory, ranges.get(DT_JMPREL), count),
    )


def version_records(
    memory: Memory, tag: int, first: int, count: int
) -> Iterator[tuple[int, int, int | None]]:
    """Every record of DT_VERNEED or DT_VERDEF (`tag`): its address, size, and the place of its
    string, in bytes from its start (None where it has no string).

    Raises ElfError where they lead out of what is loaded, or do not end.
    """
    needs = tag == elf.DT_VERNEED
    record = elf.VERNEED if needs else elf.VERDEF
    child = elf.VERNAUX if needs else elf.VERDAUX
    left = _MOST_VERSION_RECORDS
    at = first
    for _ in range(count):
        fields = record.unpack(memory.at(at, record.size))
        # Verneed: count at 1, file at 2, auxiliary at 3, next at 4. Verdef: 3, none, 5, 6.
        children, auxiliary, step = (
            (fields[1], fields[3], fields[4]) if needs else fields[3:4] + (fields[5:7])
        )
        yield at, record.size, 4 if needs else None
        below = at + auxiliary
        for _ in range(children):
            left -= 1
            if left < 0:
                raise ElfError("it has too many symbol versions")
            *_, next_child = child.unpack(memory.at(below, child.size))
            yield below, child.size, 8 if needs else 0
            below += next_child
        if step == 0:
            return
        at += step


def undefined_and_defined_names(path: Path) -> frozenset[str]:
    """The names that a library or executable imports, defines, or spells out in its data.

    What is spelled out (only mangled names) may be given to dlsym. Empty for a static executable.
    Raises ElfError where the names cannot be told, and OSError.
    """
    view = map_file(path)
    source = read(view)
    if all(segment.type != elf.PT_DYNAMIC for segment in source.segments):
        return frozenset()
    memory = Memory(view, source.loads)
    tags = dict(_dynamic(memory, source)[1])
    if DT_SYMTAB not in tags:
        return frozenset()
    if not {elf.DT_STRTAB, DT_STRSZ} <= tags.keys():
        raise ElfError("its string table has no size")
    symbols = Range(start=tags[DT_SYMTAB], size=_known_symbols(memory, tags) * SYMBOL.size)
    table = Range(start=tags[elf.DT_STRTAB], size=tags[DT_STRSZ])
    names = set(_names(_symbols(memory, symbols), _bytes(memory, table)))
    names |= spelled_names(view, memory, source.loads, table)
    names.discard(b"")
    return frozenset(name.decode(errors="surrogateescape") for name in names)


def _known_symbols(memory: Memory, tags: dict[int, int]) -> int:
    """How many symbols the loader may look at, at least: those of the hash tables, and of the
    relocations, as a table that defines nothing may have no hashes. Raises ElfError."""
    _, counts, _ = _hash_tables(memory, tags)
    for tag, size_tag in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        if tags.get(size_tag, 0):
            part = Range(start=tags.get(tag, 0), size=tags[size_tag])
            counts.append(1 + max(row[1] >> 32 for row in _relas(memory, part, 1 << 32)))
    return max(counts, default=0)


def spelled_names(
    view: memoryview, memory: Memory, loads: tuple[Segment, ...], strings: Range
) -> set[bytes]:
    """Mangled C++ and Rust names among the loaded bytes, other than in the string table."""
    found: set[bytes] = set()
    home = memory.home(strings.start, strings.size)
    skipped = home.offset + strings.start - home.vaddr
    for load in loads:
        pieces = [(load.offset, load.offset + load.filesz)]
        if load is home:
            pieces = [(load.offset, skipped), (skipped + strings.size, pieces[0][1])]
        for start, end in pieces:
            for match in _SPELLED.finditer(view[start:end]):
                # Strings share their ends, so each of them may be what is meant.
                text = match[0][:-1]
                found.update(text[inner.start() :] for inner in _MANGLED.finditer(text))
    return found


def _dynamic(memory: Memory, source: SharedObject) -> tuple[int, tuple[tuple[int, int], ...]]:
    dynamic = next((s for s in source.segments if s.type == elf.PT_DYNAMIC), None)
    if dynamic is None:
        raise ElfError("it has no dynamic section")
    entries: list[tuple[int, int]] = []
    for tag, value in elf.DYNAMIC.iter_unpack(memory.at(dynamic.vaddr, dynamic.filesz & ~15)):
        if tag == elf.DT_NULL:
            return dynamic.vaddr, tuple(entries)
        entries.append((tag, value))
    raise ElfError("its dynamic section does not end")


def _hash_ranges(memory: Memory, tags: dict[int, int]) -> tuple[dict[int, Range], int, int]:
    """Where the hash tables lie, how many symbols there are, and the first one in DT_GNU_HASH.

    Nothing else in a library says how many symbols it has.
    """
    ranges, counts, first_hashed = _hash_tables(memory, tags)
    if not counts or min(counts) != max(counts) or not 0 < counts[0] < _MOST_SYMBOLS:
        raise ElfError("its hash tables do not tell how many symbols it has")
    return ranges, counts[0], first_hashed


def _hash_tables(memory: Memory, tags: dict[int, int]) -> tuple[dict[int, Range], list[int], int]:
    """Where the hash tables lie, how many symbols each one counts, and the first in DT_GNU_HASH."""
    ranges = {}
    counts = []
    first_hashed = 1
    if DT_HASH in tags:
        buckets, chains = struct.unpack("<II", memory.at(tags[DT_HASH], 8))
        ranges[DT_HASH] = Range(start=tags[DT_HASH], size=8 + 4 * (buckets + chains))
        counts.append(chains)
    if DT_GNU_HASH in tags:
        start = tags[DT_GNU_HASH]
        buckets, first_hashed, words, _ = struct.unpack("<IIII", memory.at(start, 16))
        chain_at = start + 16 + 8 * words + 4 * buckets
        heads = struct.unpack(f"<{buckets}I", memory.at(chain_at - 4 * buckets, 4 * buckets))
        count = max(heads, default=0)
        if count < first_hashed:
            count = first_hashed
        else:
            while not memory.at(chain_at + 4 * (count - first_hashed), 4)[0] & 1:
                count += 1
                if count == _MOST_SYMBOLS:
                    raise ElfError("its hash table does not end")
            count += 1
        ranges[DT_GNU_HASH] = Range(start=start, size=chain_at - start + 4 * (count - first_hashed))
        counts.append(count)
    return ranges, counts, first_hashed


def _check_apart(ranges: list[Range]) -> None:
    ordered = sorted(ranges, key=lambda part: part.start)
    for before, after in pairwise(ordered):
        if before.overlaps(after):
            raise ElfError("its dynamic tables overlap")


def _bytes(memory: Memory, part: Range) -> bytes:
    return bytes(memory.at(part.start, part.size))


def _symbols(memory: Memory, part: Range) -> list[Symbol]:
    return list(SYMBOL.iter_unpack(memory.at(part.start, part.size)))


def _names(symbols: list[Symbol], strings: bytes) -> list[bytes]:
    try:
        return [strings[row[0] : strings.index(0, row[0])] for row in symbols]
    except ValueError:
        raise ElfError("a symbol's name lies outside the string table") from None


def _relas(memory: Memory, part: Range | None, count: int) -> list[Rela]:
    if part is None:
        return []
    if part.size % RELA.size:
        raise ElfError("its relocations have an unknown size")
    rows = list(RELA.iter_unpack(memory.at(part.start, part.size)))
    if any(row[1] >> 32 >= count for row in rows):
        raise ElfError("a relocation names a symbol that does not exist")
    return rows
