"""The names that a library keeps for debuggers: its whole symbol table, where it has one.

Nothing that runs needs it, so it is gone from a library that was stripped.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerpack.elf import format as elf
from layerpack.elf.code import Code
from layerpack.elf.tables import STT_FUNC, STT_OBJECT, SYMBOL

_SHT_SYMTAB = 2


@dataclass(frozen=True, slots=True)
class Named:
    """A function or data: its name, its address, and its size in bytes."""

    name: str
    start: int
    size: int


def named(code: Code) -> list[Named]:
    """What has a name (System V ABI, "Symbol Table")."""
    table = next((one for one in code.source.sections if one.type == _SHT_SYMTAB), None)
    strings = code.section(".strtab")
    if table is None or strings is None:
        return []
    rows = bytes(code.view[table.offset : table.offset + table.size])
    texts = bytes(code.view[strings.offset : strings.offset + strings.size])
    found = []
    for name, info, _, section, value, size in SYMBOL.iter_unpack(rows[: len(rows) // 24 * 24]):
        if info & 15 in (STT_FUNC, STT_OBJECT) and section != elf.SHN_UNDEF and name < len(texts):
            text = texts[name : texts.find(b"\0", name)]
            found.append(Named(text.decode("utf-8", "surrogateescape"), value, size))
    return found


def local_names(code: Code) -> list[tuple[str, int]]:
    """The names of functions and data, each with its address."""
    return [(one.name, one.start) for one in named(code)]
