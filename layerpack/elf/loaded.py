"""Read a library as glibc does: its loaded bytes, its symbols, its hash tables.

Shares no code with `tables` and `hashing`, so that what those write can be checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from layerpack.elf.read import read


class Symbol(NamedTuple):
    """A dynamic symbol, fields as in Elf64_Sym, with its entry of .gnu.version (0 without one)."""

    name: bytes
    info: int
    other: int
    section: int
    value: int
    size: int
    version: int


class Library:
    """A library as the loader sees it. Raises ElfError, and ValueError, KeyError or struct.error
    where its tables lead nowhere."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.object = read(view)
        self.loads = self.object.loads
        (dynamic,) = (segment for segment in self.object.segments if segment.type == 2)
        self.dynamic_at = dynamic.vaddr
        self.dynamic: list[tuple[int, int]] = []
        for tag, value in struct.iter_unpack("<QQ", self.at(dynamic.vaddr, dynamic.filesz & ~15)):
            self.dynamic.append((tag, value))
            if tag == 0:
                break
        self.tags = dict(self.dynamic)
        self.strings = bytes(self.at(self.tags[5], self.tags[10]))
        self.symbols: list[Symbol] = []

    def at(self, vaddr: int, size: int) -> memoryview:
        for load in self.loads:
            if load.vaddr <= vaddr and vaddr + size <= load.vaddr + load.filesz:
                start = load.offset + vaddr - load.vaddr
                return self.view[start : start + size]
        raise ValueError(f"nothing is loaded at {vaddr:#x}")

    def words(self, kind: str, vaddr: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}{kind}", self.at(vaddr, count * struct.calcsize(kind)))

    def text(self, offset: int) -> bytes:
        return self.strings[offset : self.strings.index(b"\0", offset)]

    def load_symbols(self, count: int) -> None:
        versions = self.words("H", self.tags[0x6FFFFFF0], count) if 0x6FFFFFF0 in self.tags else ()
        rows = struct.iter_unpack("<IBBHQQ", self.at(self.tags[6], 24 * count))
        self.symbols = [
            Symbol(self.text(name), info, other, section, value, size, version)
            for (name, info, other, section, value, size), version in zip(
                rows, versions or (0,) * count, strict=True
            )
        ]

    def relocations(self, start: int, size: int) -> list[tuple[int, int, int]]:
        if not self.tags.get(size):
            return []
        return list(struct.iter_unpack("<QQq", self.at(self.tags[start], self.tags[size])))

    def version_names(self) -> list[tuple[object, ...]]:
        """All that the version tables say, in order, with names in place of offsets."""
        found: list[tuple[object, ...]] = []
        for at in self.steps(0x6FFFFFFE, 0x6FFFFFFF, 12):
            version, count, file, aux, _ = struct.unpack("<HHIII", self.at(at, 16))
            found.append((version, count, self.text(file)))
            below = at + aux
            for _ in range(count):
                value, flags, index, name, step = struct.unpack("<IHHII", self.at(below, 16))
                found.append((value, flags, index, self.text(name)))
                below += step
        for at in self.steps(0x6FFFFFFC, 0x6FFFFFFD, 16):
            *fields, aux, _ = struct.unpack("<HHHHIII", self.at(at, 20))
            found.append(tuple(fields))
            below = at + aux
            for _ in range(fields[3]):
                name, step = struct.unpack("<II", self.at(below, 8))
                found.append((self.text(name),))
                below += step
        return found

    def steps(self, tag: int, number: int, step_at: int) -> Iterator[int]:
        at = self.tags.get(tag, 0)
        for _ in range(self.tags.get(number, 0)):
            yield at
            step = int.from_bytes(self.at(at + step_at, 4), "little")
            if not step:
                return
            at += step


class GnuHash:
    """DT_GNU_HASH, looked up as glibc's do_lookup_x does."""

    def __init__(self, library: Library) -> None:
        start = library.tags[0x6FFFFEF5]
        buckets, self.first, words, self.shift = library.words("I", start, 4)
        self.bloom = library.words("Q", start + 16, words)
        self.buckets = library.words("I", start + 16 + 8 * words, buckets)
        self.chain_at = start + 16 + 8 * words + 4 * buckets
        self.library = library

    def chain(self, index: int) -> Iterator[tuple[int, int]]:
        """Symbols and their hashes, from a bucket's first to its last."""
        while index:
            value = int.from_bytes(
                self.library.at(self.chain_at + 4 * (index - self.first), 4), "little"
            )
            yield index, value
            if value & 1:
                return
            index += 1

    def find(self, name: bytes) -> list[int]:
        value = 5381
        for byte in name:
            value = (value * 33 + byte) & 0xFFFFFFFF
        word = self.bloom[value // 64 & (len(self.bloom) - 1)]
        if not word >> value % 64 & word >> (value >> self.shift) % 64 & 1:
            return []
        return [
            index
            for index, other in self.chain(self.buckets[value % len(self.buckets)])
            if other | 1 == value | 1 and self.library.symbols[index].name == name
        ]

    def all(self) -> list[int]:
        return [index for head in self.buckets for index, _ in self.chain(head)]


class SysvHash:
    """DT_HASH, looked up as the gABI says."""

    def __init__(self, library: Library) -> None:
        start = library.tags[4]
        buckets, self.count = library.words("I", start, 2)
        self.buckets = library.words("I", start + 8, buckets)
        self.chains = library.words("I", start + 8 + 4 * buckets, self.count)
        self.library = library

    def chain(self, index: int) -> Iterator[int]:
        for _ in range(self.count):
            if index == 0:
                return
            yield index
            index = self.chains[index]
        raise ValueError("a hash chain does not end")

    def find(self, name: bytes) -> list[int]:
        value = 0
        for byte in name:
            value = (value << 4) + byte
            value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
        head = self.buckets[value % len(self.buckets)]
        return [i for i in self.chain(head) if self.library.symbols[i].name == name]

    def all(self) -> list[int]:
        return [index for head in self.buckets for index in self.chain(head)]
