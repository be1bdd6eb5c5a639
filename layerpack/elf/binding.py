"""Which of a library's own symbols its references may be bound to once and for all.

A symbol may be bound where nobody but the library itself can look it up, and where its definition
is the only one there can be. Linkers do the same for a whole library with -Bsymbolic.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from layerpack.elf import tables as t

#: By machine: RELATIVE, the two kinds that become RELATIVE (GLOB_DAT and a 64-bit word), JUMP_SLOT.
RELOCATIONS: Final = {
    "x86_64": (8, frozenset({6, 1}), 7),
    "aarch64": (1027, frozenset({1025, 257}), 1026),
}

_MANGLED: Final = re.compile(rb"_Z|_R[CMXYNI]")
# Programs replace these to watch or change memory; the whole process must agree on one.
_NEW_AND_DELETE: Final = re.compile(rb"_Z(?:n[wa]|d[la])")
# A name whose outermost scope is std or one of libstdc++'s own, or a builtin type, through
# whatever the Itanium C++ ABI ("Mangling", 5.1) sets before: vtables, typeinfo, guards, locals,
# pointers and qualifiers. St, Sa, Sb, Ss, Si, So, Sd abbreviate std and its oldest types.
_STANDARD: Final = re.compile(
    rb"_Z(?:T[VTISCchv](?:n?\d+_)*|G[VR]|Z)*N?[PKVRO]*"
    rb"(?:S[tabsiod]|9__gnu_cxx|10__cxxabiv1|7__cxxabi|[a-z](?:$|E)|D[a-z])"
)
# A type in a namespace that is not libstdc++'s: N, qualifiers, a length.
_FOREIGN_TYPE: Final = re.compile(rb"N[KVRO]*(?!9__gnu_cxx|10__cxxabiv1)\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """Symbols to bind, as indices into the symbol table.

    `bound` lose their names; `slots`, a part of them, are called through the PLT, whose entries
    name a symbol by its index, and so stay in the table as local ones.
    """

    bound: frozenset[int]
    slots: frozenset[int]


def bind(tables: t.DynamicTables, machine: str, keep: Set[bytes]) -> Binding:
    """Choose the symbols to bind, none of them in `keep`."""
    _, words, jump_slot = RELOCATIONS[machine]
    candidates = bytearray(len(tables.symbols))
    for index in range(tables.first_hashed, len(tables.symbols)):
        name = tables.names[index]
        candidates[index] = may_bind(name, tables.symbols[index]) and name not in keep
    slots = set()
    for _, info, _ in tables.relocations:
        index = info >> 32
        if index and candidates[index]:
            kind = info & 0xFFFFFFFF
            if kind == jump_slot:
                slots.add(index)
            elif kind not in words:
                candidates[index] = False
    for _, info, _ in tables.plt_relocations:
        index = info >> 32
        if index and candidates[index]:
            if info & 0xFFFFFFFF == jump_slot:
                slots.add(index)
            else:
                candidates[index] = False
    bound = frozenset(index for index, chosen in enumerate(candidates) if chosen)
    return Binding(bound=bound, slots=bound & slots)


def may_bind(name: bytes, symbol: t.Symbol) -> bool:
    """Whether the rules let a symbol be bound that no other library names.

    It must be a mangled, defined function or object with default or protected visibility. IFUNC,
    TLS and unique symbols (whose one copy the loader chooses) do not qualify.

    Of the names that libstdc++ itself may define, objects stay, since their identity and contents
    matter (locale facets, the empty representation of old strings, typeinfo), and so do functions
    that are not weak (then libstdc++ is linked in, and its functions belong to those objects) or
    that name no type but libstdc++'s own: these libstdc++ may have instantiated as well.
    """
    if not _MANGLED.match(name) or _NEW_AND_DELETE.match(name):
        return False
    _, info, other, section, _, _ = symbol
    binding, kind = info >> 4, info & 15
    if (
        binding not in (t.STB_GLOBAL, t.STB_WEAK)
        or kind not in (t.STT_FUNC, t.STT_OBJECT, t.STT_NOTYPE)
        or other & 3 not in (t.STV_DEFAULT, t.STV_PROTECTED)
        or not t.SHN_UNDEF < section < t.SHN_LORESERVE
    ):
        return False
    if _STANDARD.match(name):
        return kind == t.STT_FUNC and binding == t.STB_WEAK and bool(_FOREIGN_TYPE.search(name))
    return True
