"""Compare a library on diet with its original, as the loader and dlsym would see both.

Names are looked up in the new hash tables, as glibc does (elf/dl-lookup.c), and every relocation
is worked out for both files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set
from itertools import chain

from layerpack.elf.loaded import GnuHash, Library, Symbol, SysvHash

_RELATIVE = {"x86_64": 8, "aarch64": 1027}
# Types whose result is symbol + addend, in 64 bits: GLOB_DAT, a word, JUMP_SLOT.
_ADDRESSES = {"x86_64": (6, 1, 7), "aarch64": (1025, 257, 1026)}
# What may change in the dynamic section: the tables' addresses, DT_STRSZ and DT_RELACOUNT.
_TAGS = {4, 5, 6, 10, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFF9, 0x6FFFFFFC, 0x6FFFFFFE}
_STRING_TAGS = {1, 14, 15, 29, 0x7FFFFFFD, 0x7FFFFFFF}
_CHUNK = 1 << 20


def difference(before: memoryview, after: memoryview, keep: Set[bytes]) -> str | None:
    """What differs between a library and its version on diet other than it may; None if nothing.

    Every relocation must write the same word where the scope holds no other library, every name
    that is not gone must be found with the same meaning, no name in `keep` and no C name may be
    gone, and every loaded byte outside the tables must be the same.
    """
    try:
        old, new = Library(before), Library(after)
        old.load_symbols(_symbol_count(old))
        new.load_symbols(_symbol_count(new))
        gone = {symbol for kind in _hashes(old) for symbol in _visible(kind(old))}
        gone -= {symbol for kind in _hashes(old) for symbol in _visible(kind(new))}
        problems = chain(
            _dynamic_problems(old, new),
            _name_problems(old, new, gone, keep),
            _relocation_problems(old, new, gone),
            _image_problems(old, new),
            _segment_problems(old, new),
        )
        return next(problems, None)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        return f"its tables cannot be read ({error})"


def _hashes(library: Library) -> list[type[GnuHash] | type[SysvHash]]:
    found: list[type[GnuHash] | type[SysvHash]] = []
    if 0x6FFFFEF5 in library.tags:
        found.append(GnuHash)
    if 4 in library.tags:
        found.append(SysvHash)
    return found


def _visible(table: GnuHash | SysvHash) -> set[Symbol]:
    """The defined symbols that a hash table holds."""
    symbols = table.library.symbols
    return {symbols[index] for index in table.all() if symbols[index].section}


def _symbol_count(library: Library) -> int:
    if 4 in library.tags:
        return library.words("I", library.tags[4], 2)[1]
    table = GnuHash(library)
    last = max(table.buckets)
    return max((index for index, _ in table.chain(last)), default=table.first - 1) + 1


def _dynamic_problems(old: Library, new: Library) -> Iterator[str]:
    if old.dynamic_at != new.dynamic_at or len(old.dynamic) != len(new.dynamic):
        yield "its dynamic section moved"
    for (tag, value), (new_tag, new_value) in zip(old.dynamic, new.dynamic, strict=True):
        if tag != new_tag:
            yield f"an entry of its dynamic section changed from {tag:#x} to {new_tag:#x}"
        elif tag in _STRING_TAGS:
            if old.text(value) != new.text(new_value):
                yield f"a string of its dynamic section changed ({old.text(value)!r})"
        elif tag not in _TAGS and value != new_value:
            yield f"the value of {tag:#x} in its dynamic section changed"
    if old.version_names() != new.version_names():
        yield "its versions changed"
    count = new.tags.get(0x6FFFFFF9, 0)
    relative = _RELATIVE[new.object.machine]
    if any(row[1] != relative for row in new.relocations(7, 8)[:count]):
        yield "the number of its relative relocations is wrong"


def _name_problems(
    old: Library, new: Library, gone: Set[Symbol], keep: Set[bytes]
) -> Iterator[str]:
    """Compare what can be found by name, in each of the hash tables."""
    undefined = [
        sorted(symbol for symbol in library.symbols if not symbol.section) for library in (old, new)
    ]
    if undefined[0] != undefined[1]:
        yield "its imports changed"
    for symbol in gone:
        if symbol.name in keep or not symbol.name.startswith((b"_Z", b"_R")):
            yield f"{symbol.name!r} is gone"
        if symbol.info >> 4 not in (1, 2) or symbol.info & 15 > 2:
            yield f"{symbol.name!r} is gone, whose one definition the loader chooses"
    gone_names = {symbol.name for symbol in gone}
    for kind in _hashes(old):
        before, table = _visible(kind(old)), kind(new)
        after = _visible(table)
        if not after <= before:
            yield "a symbol changed or appeared"
        if before - after != gone & before:
            yield "its two hash tables differ"
        for symbol in after:
            if symbol not in (new.symbols[index] for index in table.find(symbol.name)):
                yield f"{symbol.name!r} is not found"
            if symbol.name in gone_names:
                yield f"{symbol.name!r} has lost one of its versions"


def _relocation_problems(old: Library, new: Library, gone: Set[Symbol]) -> Iterator[str]:
    bound = bytearray(symbol in gone for symbol in old.symbols)
    for start, size in ((7, 8), (23, 2)):
        before, after = old.relocations(start, size), new.relocations(start, size)
        places = {row[0]: row for row in after}
        if not len(before) == len(after) == len(places):
            yield "the number of its relocations changed, or two of them change one word"
        if start == 23 and any(a[0] != b[0] for a, b in zip(before, after, strict=True)):
            yield "the PLT's relocations moved"
        for row in before:
            other = places.get(row[0])
            index = row[1] >> 32
            if row == other and not index:
                continue
            if other is None or not (
                _same_words(old, new, row, other) if bound[index] else _same(old, new, row, other)
            ):
                yield f"the relocation at {row[0]:#x} would write something else"


def _same(
    old: Library, new: Library, row: tuple[int, int, int], other: tuple[int, int, int]
) -> bool:
    """Whether two relocations say the same, of the same symbol."""
    return (
        row[1] & 0xFFFFFFFF == other[1] & 0xFFFFFFFF
        and row[2] == other[2]
        and old.symbols[row[1] >> 32] == new.symbols[other[1] >> 32]
    )


def _same_words(
    old: Library, new: Library, row: tuple[int, int, int], other: tuple[int, int, int]
) -> bool:
    """Whether a relocation that is bound writes what its own definition would have made it."""
    machine = old.object.machine
    kind, new_kind = row[1] & 0xFFFFFFFF, other[1] & 0xFFFFFFFF
    symbol, new_symbol = old.symbols[row[1] >> 32], new.symbols[other[1] >> 32]
    *words, jump_slot = _ADDRESSES[machine]
    if not 0 < symbol.section < 0xFF00:
        return False
    if new_kind == _RELATIVE[machine] and kind in words:
        return other[1] >> 32 == 0 and (symbol.value + row[2] - other[2]) % (1 << 64) == 0
    return (
        kind == new_kind == jump_slot
        and row[2] == other[2]
        and symbol.value == new_symbol.value
        and new_symbol.section == symbol.section
        # Local, for binding at once; hidden, for binding lazily; and the same calling convention.
        and new_symbol.info == symbol.info & 15
        and new_symbol.other == symbol.other & ~3 | 2
    )


def _image_problems(old: Library, new: Library) -> Iterator[str]:
    """Compare all loaded bytes but those of tables that were rewritten or have moved."""
    count = len(old.symbols)
    ignored = [(old.loads[0].vaddr, 64), (old.dynamic_at, 16 * len(old.dynamic))]
    ignored += [(old.tags.get(a, 0), old.tags.get(b, 0)) for a, b in ((7, 8), (23, 2), (5, 10))]
    ignored.append((old.tags[6], 24 * count))
    if 0x6FFFFFF0 in old.tags:
        ignored.append((old.tags[0x6FFFFFF0], 2 * count))
    if 4 in old.tags:
        buckets, chains = old.words("I", old.tags[4], 2)
        ignored.append((old.tags[4], 4 * (2 + buckets + chains)))
    if 0x6FFFFEF5 in old.tags:
        table = GnuHash(old)
        size = table.chain_at - old.tags[0x6FFFFEF5] + 4 * (count - table.first)
        ignored.append((old.tags[0x6FFFFEF5], size))
    ignored += _version_ranges(old)
    if bytes(old.view[:32]) + bytes(old.view[48:54]) != bytes(new.view[:32]) + bytes(
        new.view[48:54]
    ):
        yield "its ELF header changed"
    for load in old.loads:
        at = load.vaddr
        end = load.vaddr + load.filesz
        for start, size in sorted(part for part in ignored if part[1]):
            if load.vaddr <= start < end:
                if start > at and not _equal(old, new, at, start):
                    yield f"the bytes between {at:#x} and {start:#x} changed"
                at = max(at, start + size)
        if not _equal(old, new, at, end):
            yield f"the bytes between {at:#x} and {end:#x} changed"


def _version_ranges(library: Library) -> Iterator[tuple[int, int]]:
    """Every record of the version tables, as (address, size)."""
    for tag, number, fields, step_at, sizes in (
        (0x6FFFFFFE, 0x6FFFFFFF, (2, 8), 12, (16, 16)),
        (0x6FFFFFFC, 0x6FFFFFFD, (6, 12), 16, (20, 8)),
    ):
        for at in library.steps(tag, number, step_at):
            yield at, sizes[0]
            children = int.from_bytes(library.at(at + fields[0], 2), "little")
            below = at + int.from_bytes(library.at(at + fields[1], 4), "little")
            for _ in range(children):
                yield below, sizes[1]
                end = below + sizes[1]
                below += int.from_bytes(library.at(end - 4, 4), "little")


def _equal(old: Library, new: Library, start: int, end: int) -> bool:
    """Whether both load the same bytes; padding between two tables may be gone with them."""
    at = start
    for load in new.loads:
        stop = min(load.vaddr + load.filesz, end)
        if stop <= at or load.vaddr >= end:
            continue
        if load.vaddr > at:
            if load.vaddr - at >= 64 or any(old.at(at, load.vaddr - at)):
                return False
            at = load.vaddr
        while at < stop:
            size = min(_CHUNK, stop - at)
            # bytes compare by memcmp, memoryviews one by one.
            if bytes(old.at(at, size)) != bytes(new.at(at, size)):
                return False
            at += size
    return end - at < 64 and not any(old.at(at, end - at))


def _segment_problems(old: Library, new: Library) -> Iterator[str]:
    """Compare the program headers: rights and extent of memory, and everything but PT_LOAD."""
    *kept, added = new.loads
    old_end = max(load.vaddr + load.memsz for load in old.loads)
    table = struct.unpack_from("<Q", new.view, 32)[0]
    if added.flags != 4 or added.offset != table or (added.offset | added.vaddr) % 4096:
        yield "its program headers are not in a segment of their own"
    if added.vaddr < old_end:
        yield "its new segment overlaps another"
    for load in kept:
        home = [o for o in old.loads if o.vaddr <= load.vaddr < o.vaddr + o.memsz]
        if not home or home[0].flags != load.flags:
            yield "a segment's rights changed"
        if load.vaddr + load.memsz > home[0].vaddr + home[0].memsz:
            yield "a segment grew"
    for load in old.loads:
        parts = [o for o in kept if load.vaddr <= o.vaddr < load.vaddr + load.memsz]
        zeroes = load.memsz - load.filesz
        if zeroes and (not parts or parts[-1].memsz - parts[-1].filesz != zeroes):
            yield "its zeroed memory changed"
    others = [
        [
            (s.type, s.flags, s.vaddr, s.filesz, s.memsz, s.align)
            for s in library.object.segments
            if s.type not in (1, 6)
        ]
        for library in (old, new)
    ]
    if others[0] != others[1]:
        yield "a program header changed"
    for segment in new.object.segments:
        if segment.type not in (1, 0x6474E551) and segment.filesz:
            wanted = new.at(segment.vaddr, segment.filesz)
            given = new.view[segment.offset : segment.offset + segment.filesz]
            if bytes(wanted) != bytes(given):
                yield "a program header names the wrong place"
