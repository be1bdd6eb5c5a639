"""The dynamic tables of a library whose internal references are bound."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from layerpack.elf import format as elf
from layerpack.elf import tables as t
from layerpack.elf.binding import RELOCATIONS, Binding
from layerpack.elf.hashing import bucket_count, gnu_hash, gnu_hash_table, sysv_hash_table


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTables:
    """Tables to be placed anew, by dynamic tag; tables to be written where the old ones lie;
    values of the dynamic section that change and are no addresses, by the entry's position.

    `locals` is the number of local symbols, which come first.
    """

    moved: dict[int, bytes]
    in_place: dict[int, bytes]
    values: dict[int, int]
    locals: int


def build(memory: t.Memory, tables: t.DynamicTables, machine: str, binding: Binding) -> NewTables:
    """The tables with `binding` applied. Symbols that stay keep all they say."""
    order, new_index, local_count, hashes = _order(tables, binding)
    # glibc (elf/dl-runtime.c, elf/dynamic-link.h) looks up neither local symbols, when it binds at
    # once, nor hidden ones, when it binds lazily. A nameless symbol is not in the hash tables.
    names = [b"" if old in binding.bound else tables.names[old] for old in order]
    strings = _strings(memory, tables)
    table, offsets = share_suffixes({*names, *strings.values()})
    rows = []
    for old, name in zip(order, names, strict=True):
        _, info, other, section, value, size = tables.symbols[old]
        if old in binding.bound:
            info, other = t.STB_LOCAL << 4 | info & 15, other & ~3 | t.STV_HIDDEN
        rows.append(t.SYMBOL.pack(offsets[name], info, other, section, value, size))

    moved = {}
    if t.DT_GNU_HASH in tables.ranges:
        moved[t.DT_GNU_HASH] = gnu_hash_table(hashes, len(order) - len(hashes))
    if t.DT_HASH in tables.ranges:
        # Rebuilt even beside DT_GNU_HASH: programs count symbols by it, and it is small by now.
        moved[t.DT_HASH] = sysv_hash_table(names, local_count)
    # The string table follows the symbols, which some programs count by the distance.
    moved[t.DT_SYMTAB] = b"".join(rows)
    moved[elf.DT_STRTAB] = table
    if tables.versions is not None:
        versions = [0 if old in binding.bound else tables.versions[old] for old in order]
        moved[t.DT_VERSYM] = struct.pack(f"<{len(versions)}H", *versions)
    for tag in (elf.DT_VERNEED, elf.DT_VERDEF):
        if tag in tables.ranges:
            moved[tag] = _versions(memory, tables.ranges[tag], strings, offsets)

    relocations, relative_count = _relocations(tables, machine, binding, new_index)
    plt = [
        t.RELA.pack(at, new_index[info >> 32] << 32 | info & 0xFFFFFFFF, addend)
        for at, info, addend in tables.plt_relocations
    ]
    in_place = {t.DT_RELA: relocations, t.DT_JMPREL: b"".join(plt)}
    values = {}
    for position, (tag, value) in enumerate(tables.dynamic):
        if tag in t.STRING_TAGS:
            values[position] = offsets[_string(tables.strings, value)]
        elif tag == t.DT_STRSZ:
            values[position] = len(table)
        elif tag == t.DT_RELACOUNT:
            values[position] = relative_count
    return NewTables(
        moved=moved,
        in_place={tag: data for tag, data in in_place.items() if data},
        values=values,
        locals=local_count,
    )


def share_suffixes(names: Iterable[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """A string table, and where each name is in it; a name that ends another lies within it."""
    table = [b""]
    offsets = {b"": 0}
    end = 1
    previous = b""
    for backwards in sorted((name[::-1] for name in names), reverse=True):
        name = backwards[::-1]
        if not name:
            continue
        if previous.endswith(name):
            offsets[name] = offsets[previous] + len(previous) - len(name)
            continue
        offsets[name] = end
        table.append(name)
        end += len(name) + 1
        previous = name
    return b"\0".join([*table, b""]), offsets


def _order(
    tables: t.DynamicTables, binding: Binding
) -> tuple[list[int], list[int], int, list[int]]:
    """The symbols that stay, as old indices in their new order; the new index of each old one
    (0 for those that go); the number of local ones, which come first; the hashes of those that
    can be found, which come last."""
    symbols = tables.symbols
    hashed = _hashed(tables, binding)
    local = [index for index, row in enumerate(symbols) if row[1] >> 4 == t.STB_LOCAL]
    # Names for one address (constructors have two) need but one nameless symbol.
    slots: dict[tuple[int, int, int, int], list[int]] = {}
    for index in sorted(binding.slots):
        _, info, other, section, value, _ = symbols[index]
        slots.setdefault((value, info & 15, other & ~3, section), []).append(index)
    taken = {*local, *hashed, *binding.bound}
    unhashed = [index for index in range(len(symbols)) if index not in taken]
    hashes = {index: gnu_hash(tables.names[index]) for index in hashed}
    if t.DT_GNU_HASH in tables.ranges:
        buckets = bucket_count(len(hashed))
        hashed.sort(key=lambda index: hashes[index] % buckets)
    order = [*local, *(same[0] for same in slots.values()), *unhashed, *hashed]
    new_index = [0] * len(symbols)
    for new, old in enumerate(order):
        new_index[old] = new
    for same in slots.values():
        for index in same:
            new_index[index] = new_index[same[0]]
    return order, new_index, len(local) + len(slots), [hashes[index] for index in hashed]


def _hashed(tables: t.DynamicTables, binding: Binding) -> list[int]:
    """The symbols that stay and can be found by name; the loader never finds undefined ones."""
    return [
        index
        for index in range(tables.first_hashed, len(tables.symbols))
        if tables.symbols[index][3] != t.SHN_UNDEF
        and tables.symbols[index][1] >> 4 != t.STB_LOCAL
        and index not in binding.bound
    ]


def _relocations(
    tables: t.DynamicTables, machine: str, binding: Binding, new_index: list[int]
) -> tuple[bytes, int]:
    """DT_RELA's table, and how many RELATIVE ones it begins with (DT_RELACOUNT).

    Those are sorted by address, for the loader's sake; the others stay in their order, which
    matters where one of them (IRELATIVE) runs code that needs an earlier one.
    """
    relative, words, _ = RELOCATIONS[machine]
    first: list[t.Rela] = []
    rest: list[t.Rela] = []
    for row in tables.relocations:
        at, info, addend = row
        index = info >> 32
        if index == 0:
            (first if info == relative else rest).append(row)
        elif index in binding.bound and info & 0xFFFFFFFF in words:
            value = tables.symbols[index][4] + addend
            first.append((at, relative, (value + (1 << 63)) % (1 << 64) - (1 << 63)))
        else:
            rest.append((at, new_index[index] << 32 | info & 0xFFFFFFFF, addend))
    first.sort()
    pack = t.RELA.pack
    return b"".join([pack(*row) for row in first] + [pack(*row) for row in rest]), len(first)


def _strings(memory: t.Memory, tables: t.DynamicTables) -> dict[int, bytes]:
    """What is named other than symbols: by the address of the reference in the version tables,
    by minus the position of the entry in the dynamic section."""
    found = {}
    for position, (tag, value) in enumerate(tables.dynamic):
        if tag in t.STRING_TAGS:
            found[-position - 1] = _string(tables.strings, value)
    counts = dict(tables.dynamic)
    for tag, number in (
        (elf.DT_VERNEED, elf.DT_VERNEEDNUM),
        (elf.DT_VERDEF, elf.DT_VERDEFNUM),
    ):
        if tag in tables.ranges:
            records = t.version_records(memory, tag, counts[tag], counts.get(number, 0))
            for at, _, place in records:
                if place is not None:
                    reference = int.from_bytes(memory.at(at + place, 4), "little")
                    found[at + place] = _string(tables.strings, reference)
    return found


def _versions(
    memory: t.Memory, part: t.Range, strings: dict[int, bytes], offsets: dict[bytes, int]
) -> bytes:
    data = bytearray(memory.at(part.start, part.size))
    for at, name in strings.items():
        if part.start <= at < part.end:
            struct.pack_into("<I", data, at - part.start, offsets[name])
    return bytes(data)


def _string(strings: bytes, offset: int) -> bytes:
    try:
        return strings[offset : strings.index(0, offset)]
    except ValueError:
        raise elf.ElfError("a name lies outside the string table") from None
