"""Words of a library that hold addresses in itself: what its relocations make of them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Image
from layerpack.elf.format import ElfError
from layerpack.elf.read import SharedObject
from layerpack.elf.tables import DynamicTables

#: Relocations by e_machine's name: a plain address, an entry of the GOT, of the PLT's part of it,
#: an address without a symbol, and one that a resolver gives (processor supplements).
_TYPES: Final = {"x86_64": (1, 6, 7, 8, 37), "aarch64": (257, 1025, 1026, 1027, 1032)}
#: JMP through an address relative to the instruction's end, perhaps behind ENDBR64 and BND.
_JUMP: Final = b"\xff\x25"
_ENDBR: Final = b"\xf3\x0f\x1e\xfa"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """`values`: the address in the library that each word gets; `got` are the words that code
    reads to learn an address; `data` the segments, (start, end), that have words; `imports` the
    words for what other libraries define, by name; `stubs` are the PLT's sections."""

    values: dict[int, int]
    got: frozenset[int]
    data: tuple[tuple[int, int], ...]
    imports: dict[str, int]
    stubs: tuple[tuple[int, int], ...]
    image: Image
    machine: str

    def is_data(self, vaddr: int) -> bool:
        """Whether an address lies in a segment that has words with addresses."""
        number = bisect_right(self.data, (vaddr, 1 << 64)) - 1
        return number >= 0 and vaddr < self.data[number][1]

    def is_got(self, vaddr: int) -> bool:
        """Whether a word is only there for code to read an address from."""
        return vaddr in self.got

    def resolved(self, vaddr: int) -> int:
        """What a reference means: the target of a PLT's entry or the address in a GOT's word.

        0 for one that another library defines.
        """
        slot = self._slot_of_stub(vaddr)
        if slot is not None:
            return self.values.get(slot, 0)
        if vaddr in self.got:
            return self.values.get(vaddr, 0)
        return vaddr

    def stub_of(self, name: str) -> int:
        """The PLT's entry that leads to another library's symbol; 0 where there is none."""
        slot = self.imports.get(name)
        for start, end in self.stubs if slot is not None else ():
            for at in range(start, end, 8):
                if self._slot_of_stub(at) == slot:
                    return at
        return 0

    def _bytes(self, vaddr: int) -> bytes:
        try:
            return bytes(self.image.bytes_at(vaddr, 8))
        except ElfError:
            return b""

    def _slot_of_stub(self, vaddr: int) -> int | None:
        # Entries have 16 bytes, but 8 in GNU ld's .plt.got.
        # A function that is nothing but such a jump is one all the same.
        if vaddr % 8 or not any(start <= vaddr < end for start, end in self.stubs):
            return None
        code = self._bytes(vaddr) + self._bytes(vaddr + 8)
        if len(code) < 8:
            return None
        slot = _x86_64(code, vaddr) if self.machine == "x86_64" else _aarch64(code, vaddr)
        return slot if slot is not None and slot in self.got else None


def read_slots(image: Image, source: SharedObject, tables: DynamicTables) -> Slots:
    """The words that a library's relocations fill in. Raises ElfError for malformed ones."""
    plain, glob, jump, relative, indirect = _TYPES[source.machine]
    values: dict[int, int] = {}
    got: set[int] = set()
    imports: dict[str, int] = {}
    for offset, info, addend in (*tables.relocations, *tables.plt_relocations):
        kind, symbol = info & 0xFFFFFFFF, tables.symbols[info >> 32]
        if kind in (relative, indirect):
            # An indirect one holds what a function of the library's chooses.
            values[offset] = addend
        elif kind in (plain, glob, jump) and symbol[3] != elf.SHN_UNDEF:
            values[offset] = symbol[4] + (addend if kind == plain else 0)
        if kind in (glob, jump):
            got.add(offset)
        if kind == jump and symbol[3] == elf.SHN_UNDEF:
            imports[tables.names[info >> 32].decode("utf-8", "replace")] = offset
    for offset in _packed(image, tables):
        values[offset] = image.words(offset, 1, 8)[0]
    sections = [one for one in source.sections if one.name.startswith(".got")]
    for one in sections:
        got.update(range(one.addr, one.addr + one.size, 8))
    data = tuple(
        (one.vaddr, one.vaddr + one.filesz)
        for one in source.loads
        if not one.flags & elf.PF_X and any(one.holds(at, 8) for at in values)
    )
    return Slots(
        values=values,
        got=frozenset(got),
        data=data,
        imports=imports,
        stubs=tuple(
            (one.addr, one.addr + one.size)
            for one in source.sections
            if one.name.startswith(".plt") and one.size
        ),
        image=image,
        machine=source.machine,
    )


def _packed(image: Image, tables: DynamicTables) -> list[int]:
    """The words of DT_RELR (gABI, "Relative Relocation Table")."""
    dynamic = dict(tables.dynamic)
    if elf.DT_RELR not in dynamic:
        return []
    found: list[int] = []
    at = 0
    for entry in image.words(dynamic[elf.DT_RELR], dynamic.get(elf.DT_RELRSZ, 0) // 8, 8):
        if entry & 1:
            found += [at + 8 * bit for bit in range(63) if entry >> (bit + 1) & 1]
            at += 8 * 63
        else:
            found.append(entry)
            at = entry + 8
    return found


def _x86_64(code: bytes, vaddr: int) -> int | None:
    at = 4 if code.startswith(_ENDBR) else 0
    at += code[at] == 0xF2
    if code[at : at + 2] != _JUMP or len(code) < at + 6:
        return None
    return vaddr + at + 6 + int.from_bytes(code[at + 2 : at + 6], "little", signed=True)


def _aarch64(code: bytes, vaddr: int) -> int | None:
    """ADRP x16; LDR x17, [x16, n], perhaps behind BTI."""
    words = memoryview(code).cast("I").tolist()
    at = 1 if words[0] == 0xD503245F else 0
    if len(words) < at + 2:
        return None
    page, load = words[at], words[at + 1]
    if page & 0x9F00001F != 0x90000010 or load & 0xFFC003FF != 0xF9400211:
        return None
    distance = (page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3
    distance -= (distance >> 20) << 21
    return ((vaddr + 4 * at) & ~0xFFF) + (distance << 12) + ((load >> 10 & 0xFFF) << 3)
