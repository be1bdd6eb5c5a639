"""Make code refer to another address than it did: patches of instructions and of relocations."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.code import Code
from layerpack.elf.drops import Patch
from layerpack.elf.slots import read_slots
from layerpack.elf.tables import DT_JMPREL, DT_RELA, RELA, DynamicTables, Memory, read_tables

#: Relocations by e_machine's name: a plain address of a symbol, an entry of the GOT, and an address
#: without a symbol (processor supplements).
_TYPES: Final = {"x86_64": (1, 6, 8), "aarch64": (257, 1025, 1027)}


class Words:
    """The words of a library that hold addresses in itself, and how to change them."""

    def __init__(self, code: Code) -> None:
        """Read its relocations. Raises ElfError."""
        memory = Memory(code.view, code.source.loads)
        self.tables: DynamicTables = read_tables(memory, code.source)
        self._slots = read_slots(code.image, code.source, self.tables)
        self._types = _TYPES[code.source.machine]
        self.sizes = {
            name.decode("utf-8", "surrogateescape"): row[5]
            for row, name in zip(self.tables.symbols, self.tables.names, strict=True)
            if row[3] != elf.SHN_UNDEF
        }
        self.values = self._slots.values
        lazy = {offset for offset, *_ in self.tables.plt_relocations}
        #: Words of the GOT that hold an address; those that the PLT fills in when it is used last.
        self._got: dict[int, list[int]] = {}
        for at in sorted(self.values, key=lambda at: (at in lazy, at)):
            if self._slots.is_got(at):
                self._got.setdefault(self.values[at], []).append(at)

    def read_through(self, moves: Mapping[int, int]) -> dict[int, int] | None:
        """`moves`, with the words of the GOT through which code reads these addresses; None where
        one has such a word and what it stands for has none."""
        if any(start in self._got and to not in self._got for start, to in moves.items()):
            return None
        through = {
            word: self._got[to][0]
            for start, to in moves.items()
            for word in self._got.get(start, ())
        }
        return {**moves, **through}

    def moved(self, moves: Mapping[int, int], *, got: bool) -> Iterator[Patch]:
        """Patches that give words which hold an address of `moves` the one that it stands for: the
        words of the GOT where `got` is set, else those of data."""
        plain, glob, relative = self._types
        rows = (
            (DT_RELA, self.tables.relocations),
            (DT_JMPREL, self.tables.plt_relocations),
        )
        patched: set[int] = set()
        for tag, relocations in rows:
            for number, (offset, info, _) in enumerate(relocations):
                to = moves.get(self.values.get(offset, 0))
                if to is None or self._slots.is_got(offset) != got:
                    continue
                patched.add(offset)
                if info & 0xFFFFFFFF in (plain, glob, relative):
                    start = self.tables.ranges[tag].start + RELA.size * number
                    yield Patch(vaddr=start, data=RELA.pack(offset, relative, to))
        # What is left is of DT_RELR, whose words hold the addresses themselves.
        for at, value in self.values.items():
            if value in moves and at not in patched and self._slots.is_got(at) == got:
                yield Patch(vaddr=at, data=struct.pack("<Q", moves[value]))


def instructions_moved(
    code: Code, functions: Iterable[int], moves: Mapping[int, int]
) -> Iterator[Patch]:
    """Patches of all instructions of x86_64 in `functions` that name an address of `moves`: they
    then name the one that it stands for."""
    from iced_x86 import Decoder  # noqa: PLC0415

    for number in functions:
        one = code.functions[number]
        data = bytes(code.image.bytes_at(one.start, one.size))
        decoder = Decoder(64, data, ip=one.start)
        for instruction in decoder:
            if not instruction.is_ip_rel_memory_operand:
                continue
            to = moves.get(instruction.ip_rel_memory_address)
            if to is not None:
                at = instruction.ip + decoder.get_constant_offsets(instruction).displacement_offset
                yield Patch(vaddr=at, data=struct.pack("<i", to - instruction.next_ip))
