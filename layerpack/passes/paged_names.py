"""Which names of a library others may look up, so that binding must leave them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from layerpack import elf
from layerpack.elf.tables import undefined_and_defined_names
from layerpack.passes.code import Code
from layerpack.payload import FileEntry, Payload

# Also within other words: to ask for a word's beginning takes ten times as long.
_MANGLED: Final = re.compile(rb"_[ZR]\w+")


class UnknownNamesError(Exception):
    """The library at `path` may look up names that cannot be told."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def kept_names(
    payload: Payload, function: Iterable[FileEntry], machine: str
) -> Mapping[str, frozenset[str]]:
    """For each library and program of the payload, the names in it that another one has too, of
    the layers or the function package, or that Python code spells out.

    Raises UnknownNamesError for one of `machine` whose names cannot be read.
    """
    names = {
        id(entry): _names(entry, machine)
        for entry in (*payload, *function)
        if elf.is_elf(entry.source)
    }
    count = Counter(name for found in names.values() for name in found)
    sources = [entry.source for entry in Code(payload).sources]
    sources += [entry.source for entry in function if entry.path.endswith(".py")]
    spelled = {
        word.decode(errors="surrogateescape")
        for source in sources
        for word in _MANGLED.findall(source.read_bytes())
    }
    return {
        entry.path: frozenset(n for n in names[id(entry)] if count[n] > 1 or n in spelled)
        for entry in payload
        if id(entry) in names
    }


def _names(entry: FileEntry, machine: str) -> frozenset[str]:
    if not elf.is_for(entry.source, machine):
        return frozenset()
    try:
        return undefined_and_defined_names(entry.source)
    except elf.ElfError:
        raise UnknownNamesError(entry.path) from None
