"""Data that a program copies from its libraries before anything runs (R_*_COPY relocations): it has
to be there by then."""

from __future__ import annotations

from pathlib import Path

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Image, read_dynamic
from layerpack.elf.format import ElfError
from layerpack.elf.read import map_file, read


def copied_names(path: Path) -> frozenset[bytes]:
    """The names of what a program copies; none for a library. Raises ElfError, and OSError."""
    view = map_file(path)
    source = read(view)
    types = {segment.type for segment in source.segments}
    if elf.PT_DYNAMIC not in types or (elf.PT_INTERP not in types and source.kind != "ET_EXEC"):
        return frozenset()
    image, dynamic = Image(view, source.loads), read_dynamic(view, source)
    kind = elf.COPY[elf.EM_X86_64 if source.machine == "x86_64" else elf.EM_AARCH64]
    start, symbols = dynamic.value(elf.DT_RELA), dynamic.value(elf.DT_SYMTAB)
    if start is None or symbols is None:
        return frozenset()
    size = (dynamic.value(elf.DT_RELASZ) or 0) // elf.RELA.size * elf.RELA.size
    rows = elf.RELA.iter_unpack(image.bytes_at(start, size))
    strings = dynamic.value(elf.DT_STRTAB) or 0
    names = set()
    for _, info, _ in rows:
        if info & 0xFFFFFFFF == kind:
            symbol = image.bytes_at(symbols + (info >> 32) * elf.SYMBOL.size, elf.SYMBOL.size)
            names.add(image.string(strings + elf.SYMBOL.unpack(symbol)[0]))
    return frozenset(names)


def defines_any(path: Path, names: frozenset[bytes]) -> bool:
    """Whether a library defines one of `names`. Raises ElfError, and OSError."""
    view = map_file(path)
    source = read(view)
    image, dynamic = Image(view, source.loads), read_dynamic(view, source)
    start, strings = dynamic.value(elf.DT_SYMTAB), dynamic.value(elf.DT_STRTAB)
    if start is None or strings is None:
        return False
    table = next((one for one in dynamic.reads if one[0] == start), None)
    if table is None:
        raise ElfError("its symbols have no end")
    size = (table[1] - start) // elf.SYMBOL.size * elf.SYMBOL.size
    return any(
        section != elf.SHN_UNDEF and image.string(strings + name) in names
        for name, _, _, section, _, _ in elf.SYMBOL.iter_unpack(image.bytes_at(start, size))
    )
