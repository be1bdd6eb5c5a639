"""The metadata diet: a smaller library, whose references to itself are bound.

A C++ library exports thousands of names that only it looks up. Their references are bound here, as
the linker's -Bsymbolic would, and the names dropped with their symbols, versions and hashes. The
result is an ordinary library, for glibc 2.17 and later.

Binding is right in a closed world: `DietOptions.keep` must hold the names that any other part of
the payload may look up. What is lost: names of functions in backtraces (`backtrace_symbols`,
gdb), and the use of the library as something to compile C++ code against.
"""

from __future__ import annotations

import shutil
import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf import tables as t
from layerpack.elf.binding import RELOCATIONS, bind
from layerpack.elf.diet_check import difference
from layerpack.elf.format import ElfError
from layerpack.elf.index import PAGE
from layerpack.elf.new_tables import NewTables, build
from layerpack.elf.read import SharedObject, map_file, read
from layerpack.elf.relayout import Layout, content, header, holes, plan, section_table
from layerpack.elf.strip import Refusal

#: Part of a cache's key: another number means that other bytes may come out.
DIET_VERSION: Final = 1

# Less is not worth a changed file: few bytes, or a small share that is not large by itself.
_LEAST_SAVING = 64 * 1024
_LEAST_SHARE = 0.02
_LARGE_SAVING = 1 << 20
# The PLT finds its relocations by number, and neither table changes its size.
_IN_PLACE = frozenset({t.DT_RELA, t.DT_JMPREL})
#: What a dynamic section may contain. Others (prelink's, MIPS', DT_SYMTAB_SHNDX, DT_CHECKSUM, the
#: x86_64 PLT's, whose relocations' addends have a second meaning) may refer to the tables.
_KNOWN_TAGS: Final = frozenset(
    {
        *t.STRING_TAGS,
        *(t.DT_PLTRELSZ, t.DT_HASH, t.DT_SYMTAB, t.DT_RELA, t.DT_RELASZ, t.DT_RELAENT),
        *(t.DT_STRSZ, t.DT_SYMENT, t.DT_PLTREL, t.DT_JMPREL, t.DT_GNU_HASH, t.DT_VERSYM),
        *(t.DT_RELACOUNT, elf.DT_STRTAB, elf.DT_FLAGS),
        *(elf.DT_VERDEF, elf.DT_VERDEFNUM, elf.DT_VERNEED, elf.DT_VERNEEDNUM),
        *(3, 12, 13, 16, 21, 24),  # PLTGOT, INIT, FINI, SYMBOLIC, DEBUG, BIND_NOW
        *(25, 26, 27, 28),  # INIT_ARRAY, FINI_ARRAY and their sizes
        *(35, 36, 37),  # RELRSZ, RELR, RELRENT
        *(0x6FFFFEF6, 0x6FFFFEF7, elf.DT_FLAGS_1),  # TLSDESC_PLT, TLSDESC_GOT
    }
)
# BTI_PLT, PAC_PLT, VARIANT_PCS: flags without an address.
_AARCH64_TAGS: Final = frozenset({0x70000001, 0x70000003, 0x70000005})


@dataclass(frozen=True, kw_only=True, slots=True)
class DietOptions:
    """`keep`: names that must stay visible, whatever they are: all that other libraries and
    executables of the payload import, define or spell out (`tables.undefined_and_defined_names`),
    and those that appear in Python sources. C names stay anyway."""

    keep: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class DietResult:
    """What the diet did.

    `original_bytes` and `diet_bytes` are the file's sizes; what is not loaded goes as well, but
    `saved_bytes` counts the loaded bytes only. Of `symbols`, `bound` lost their names.
    """

    original_bytes: int
    diet_bytes: int
    saved_bytes: int
    symbols: int
    bound: int


def diet(source: Path, destination: Path, options: DietOptions) -> DietResult | Refusal:
    """Write a library to `destination` with its internal references bound, and check it.

    A refusal, with its reason, writes nothing. Raises OSError.
    """
    draft = destination.with_name(f".{destination.name}.diet")
    try:
        view = map_file(source)
        planned = _plan(
            view, frozenset(name.encode(errors="surrogateescape") for name in options.keep)
        )
        if isinstance(planned, Refusal):
            return planned
        with draft.open("wb") as output:
            output.writelines(planned.content(view))
        problem = difference(view, map_file(draft), planned.kept)
        if problem is not None:
            return Refusal(reason=f"binding its references would break it: {problem}")
        shutil.copymode(source, draft)
        draft.replace(destination)
        return planned.result
    except (ElfError, struct.error) as error:
        return Refusal(reason=str(error))
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Planned:
    """All that is to be written; `patches` are new bytes by old address, `kept` the names that
    must stay visible."""

    layout: Layout
    new: NewTables
    patches: dict[int, bytes]
    sections: bytes
    kept: frozenset[bytes]
    result: DietResult

    def content(self, view: memoryview) -> Iterator[bytes | memoryview]:
        yield from content(view, self.layout, self.new.moved, self.patches)
        yield self.sections


def _plan(view: memoryview, keep: frozenset[bytes]) -> _Planned | Refusal:
    source = read(view)
    problem = _problem(view, source)
    if problem is not None:
        return Refusal(reason=problem)
    memory = t.Memory(view, source.loads)
    tables = t.read_tables(memory, source)
    old = {tag: part for tag, part in tables.ranges.items() if tag not in _IN_PLACE}
    cut = holes(memory, source, list(old.values()))
    # At best the new tables are empty: most small libraries end here, before any search.
    dropped = sum(hole.size for hole in cut)
    problem = "its symbol tables are small" if not _worth(dropped, len(view)) else None
    problem = problem or _tables_problem(tables, source.machine, list(old.values()))
    if problem is not None:
        return Refusal(reason=problem)

    keep |= t.spelled_names(view, memory, source.loads, old[elf.DT_STRTAB])
    binding = bind(tables, source.machine, keep)
    new = build(memory, tables, source.machine, binding)
    layout = plan(source, cut, new.moved)
    saved = dropped - layout.new_load.filesz
    if not _worth(saved, len(view)):
        return Refusal(reason="too few of its names can go")
    sections, count = section_table(source, layout, old, new.locals)
    patches = {tables.ranges[tag].start: data for tag, data in new.in_place.items()}
    patches[tables.dynamic_at] = _dynamic(tables, new, layout)
    sections_at = layout.end + len(sections) - count * elf.SECTION_HEADER.size
    patches[source.loads[0].vaddr] = header(
        view, layout, sections_at=sections_at if count else 0, section_count=count
    )
    result = DietResult(
        original_bytes=len(view),
        diet_bytes=layout.end + len(sections),
        saved_bytes=saved,
        symbols=len(tables.symbols),
        bound=len(binding.bound),
    )
    return _Planned(
        layout=layout, new=new, patches=patches, sections=sections, kept=keep, result=result
    )


def _problem(view: memoryview, source: SharedObject) -> str | None:
    """Why a file is not for the diet, None if it may be."""
    types = {segment.type for segment in source.segments}
    if source.kind != "ET_DYN" or elf.PT_INTERP in types or elf.PT_DYNAMIC not in types:
        return "it is not a shared library"
    if elf.PT_LAYERPACK in types:
        return "it is packed already"
    if source.has_text_relocations:
        return "it has text relocations"
    if any(section.flags & elf.SHF_ALLOC and section.align > PAGE for section in source.sections):
        return "a section's alignment is larger than a page"
    described = [segment.offset + segment.filesz for segment in source.segments]
    described += [s.offset + s.size for s in source.sections if s.type != elf.SHT_NOBITS]
    if source.sections:
        described.append(source.section_headers + len(source.sections) * elf.SECTION_HEADER.size)
    if any(bytes(view[max(described) :]).strip(b"\0")):
        return "it carries data after its end, which it may read"
    return None


def _tables_problem(tables: t.DynamicTables, machine: str, old: list[t.Range]) -> str | None:
    """Why the tables cannot move from where they are, None if they can."""
    known = _KNOWN_TAGS | (_AARCH64_TAGS if machine == "aarch64" else set())
    for tag, value in tables.dynamic:
        if tag not in known:
            return f"its dynamic section has an entry of unknown type {tag:#x}"
        if tag == elf.DT_FLAGS_1 and value & elf.DF_1_PIE:
            return "it is not a shared library"
    if _refers_into(tables, machine, old):
        return "something refers to its symbol tables by address"
    return None


def _worth(saved: int, size: int) -> bool:
    return saved >= _LEAST_SAVING and (saved >= _LEAST_SHARE * size or saved >= _LARGE_SAVING)


def _refers_into(tables: t.DynamicTables, machine: str, parts: list[t.Range]) -> bool:
    """Whether a symbol or relocation has an address within tables that will move."""
    relative = RELOCATIONS[machine][0]
    # A TLS symbol's value is no address.
    addresses = [
        row[4]
        for row in tables.symbols
        if t.SHN_UNDEF < row[3] < t.SHN_LORESERVE and row[1] & 15 != t.STT_TLS
    ]
    for at, info, addend in (*tables.relocations, *tables.plt_relocations):
        addresses.append(at)
        if info == relative:
            addresses.append(addend)
    addresses.sort()
    for part in parts:
        position = bisect_left(addresses, part.start)
        if position < len(addresses) and addresses[position] < part.end:
            return True
    return False


def _dynamic(tables: t.DynamicTables, new: NewTables, layout: Layout) -> bytes:
    """The dynamic section's entries, with new addresses and values."""
    rows = []
    for position, (tag, value) in enumerate(tables.dynamic):
        moved = layout.moved.get(tag)
        changed = new.values.get(position, value) if moved is None else moved.start
        rows.append(elf.DYNAMIC.pack(tag, changed))
    return b"".join(rows)
