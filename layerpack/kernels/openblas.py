"""OpenBLAS built for many processors (DYNAMIC_ARCH): a table of kernels for each core.

The tables are the symbols `gotoblas_HASWELL` and so on. `gotoblas_dynamic_init` chooses one when
the library is loaded, and all calls of kernels go through it. Where a core's kernels go, all that
chooses its table is made to choose that of a kept core.

Cores, and what they need: OpenBLAS's `driver/others/dynamic.c` and `dynamic_arm64.c` (0.3.31). What
chooses among them asks the processor for more than its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import Patch
from layerpack.elf.references import CALL, reader_for
from layerpack.kernels.features import level_needed
from layerpack.kernels.graph import nodes_between, only_behind, references_to
from layerpack.kernels.local_names import Named, named
from layerpack.kernels.redirect import Words, instructions_moved
from layerpack.kernels.variants import (
    LeftAlone,
    Variant,
    Variants,
    above_its_floor,
    choose,
    drops,
    levels_of,
    variant,
)
from layerpack.processor_levels import Level

#: In the bytes of every library of the family.
MARK: Final = b"\0gotoblas_corename\0"
_TABLE: Final = "gotoblas_"
#: Of tables, at most.
_ALIGNMENT: Final = 64
#: Compares with all tables, to tell the name of the one in use; it chooses none.
_NAMES: Final = "gotoblas_corename"
#: The cores that stand for a level; the first takes the place of those that go. For x86_64 it is
#: the one that OPENBLAS_CORETYPE holds plain libraries to: kernels of others of the same level are
#: not the same bit for bit, so that answers would depend on who made the processor.
_CHOSEN: Final[Mapping[Level, tuple[str, ...]]] = {
    "baseline": ("PRESCOTT",),
    "avx2": ("HASWELL",),
    "avx512": ("SKYLAKEX",),
    "neon": ("NEOVERSEN1", "ARMV8"),
    "sve": ("ARMV8SVE", "NEOVERSEV1", "NEOVERSEN2"),
}
#: Those that go whatever is kept, and a level that all processors have for which they are chosen.
#: Those with AVX but not AVX2 run what takes the place of a lesser one.
_OTHERS: Final[Mapping[str, Level]] = {
    **dict.fromkeys(
        (
            *("CORE2", "PENRYN", "DUNNINGTON", "NEHALEM", "ATOM", "NANO", "SANDYBRIDGE"),
            *("OPTERON", "OPTERON_SSE3", "BARCELONA", "BOBCAT"),
            *("BULLDOZER", "PILEDRIVER", "STEAMROLLER", "EXCAVATOR"),
        ),
        "baseline",
    ),
    "ZEN": "avx2",
    **dict.fromkeys(("COOPERLAKE", "SAPPHIRERAPIDS"), "avx512"),
    **dict.fromkeys(
        (
            *("CORTEXA53", "CORTEXA55", "CORTEXA57", "CORTEXA72", "CORTEXA73", "FALKOR", "TSV110"),
            *("THUNDERX", "THUNDERX2T99", "THUNDERX3T110", "EMAG8180"),
        ),
        "neon",
    ),
    **dict.fromkeys(("A64FX", "ARMV9SME"), "sve"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Core:
    """A core: what processors that choose it have, its table, the nodes of that, and the functions
    that are called after it."""

    name: str
    floor: Level
    start: int
    end: int
    nodes: frozenset[int]
    named: frozenset[int]


def find(code: Code, kept: Sequence[Level]) -> Variants | LeftAlone:
    """The cores that a library has kernels for, and the drops that leave those of `kept` levels.

    A level that it has no kernels for is that of the next lesser ones. Raises ElfError.
    """
    words = Words(code)
    cores = {core.name: core for core in _cores(code, words)}
    if len(cores) < 2:
        return LeftAlone(reason="it has no tables of kernels for different cores")
    floors = {core.name: core.floor for core in cores.values()}
    choice = choose(floors, _CHOSEN, kept, levels_of(code))
    if isinstance(choice, LeftAlone):
        return choice
    gone = [cores[name] for name in choice.instead]
    found = tuple(_variant(code, core, kept=name in choice.stay) for name, core in cores.items())
    if doubt := above_its_floor(found, floors, levels_of(code)):
        return doubt
    moves = {cores[name].start: cores[to].start for name, to in choice.instead.items()}
    nodes = frozenset(node for core in gone for node in core.nodes)
    unused = only_behind(code, nodes, frozenset(node for core in gone for node in core.named))
    patches = _patches(code, words, gone, moves, {*unused, *nodes})
    if isinstance(patches, LeftAlone):
        return patches
    made = drops(code, unused, patches=patches, variants=found, kept=kept, needs=choice.needs)
    return Variants(found=found, drops=made)


def _cores(code: Code, words: Words) -> Iterator[_Core]:
    """The cores that are known; others stay as they are."""
    floors = dict(_OTHERS)
    floors |= {name: level for level, names in _CHOSEN.items() for name in names}
    # Some builds export none of these names.
    known = [
        *named(code),
        *(Named(name, at, words.sizes.get(name, 0)) for name, at in code.addresses.items()),
    ]
    tables = {one.name: one for one in known if one.name.startswith(_TABLE)}
    for name, floor in floors.items():
        table = tables.get(_TABLE + name)
        start, end = (table.start, table.start + table.size) if table else (0, 0)
        # Builds that leave a core out define its table all the same, in .bss.
        nodes = frozenset(nodes_between(code, start, end)) if start < end else frozenset()
        if nodes and not _is_whole(code, start, end):
            continue
        if nodes and min(nodes) >= len(code.functions) and floor in levels_of(code):
            named_so = (code.node(one.start) for one in known if one.name.endswith(f"_{name}"))
            functions = {
                node for node in named_so if node is not None and node < len(code.functions)
            }
            yield _Core(
                name=name,
                floor=floor,
                start=start,
                end=end,
                nodes=nodes,
                named=frozenset(functions),
            )


def _is_whole(code: Code, start: int, end: int) -> bool:
    """Whether the pieces of data of a table hold nothing else, but what aligns the next one."""
    after = code.node(end + _ALIGNMENT - 1)
    return code.node(start - 1) != code.node(start) and after != code.node(end - 1)


def _variant(code: Code, core: _Core, *, kept: bool) -> Variant:
    own = only_behind(code, core.nodes, core.named)
    level = level_needed(code, own) if code.source.machine == "x86_64" else core.floor
    returns = any(core.name in names for names in _CHOSEN.values())
    return variant(code, own, name=core.name, level=level, kept=kept, returns=returns)


def _patches(
    code: Code, words: Words, gone: Sequence[_Core], moves: Mapping[int, int], unused: set[int]
) -> list[Patch] | LeftAlone:
    """What makes all that names a table that goes name the one that takes its place."""
    nodes = {node for core in gone for node in core.nodes}
    users = {
        start
        for start, _ in references_to(code, nodes)
        if start < len(code.functions) and start not in unused
    }
    references = reader_for(code.source.machine)
    for number in users:
        one = code.functions[number]
        for target, kind in references(bytes(code.image.bytes_at(one.start, one.size)), one.start):
            inside = any(core.start < target < core.end for core in gone)
            if kind != CALL and inside and code.source.machine == "x86_64":
                return LeftAlone(reason=f"{one.name or hex(one.start)} uses a part of a table")
            if target in moves and code.source.machine != "x86_64":
                return LeftAlone(reason=f"{one.name or hex(one.start)} names a table directly")
    patches = [*words.moved(moves, got=False)]
    if code.source.machine != "x86_64":
        # A register's page may serve several addresses, so the words change that are read through
        # it; the name that the library tells of its core is then another.
        return [*patches, *words.moved(moves, got=True)]
    names = {one.start for one in named(code) if one.name == _NAMES}
    names |= {at for at, name in code.symbols.items() if name == _NAMES}
    choosers = [number for number in users if code.functions[number].start not in names]
    every = words.read_through(moves)
    if every is None:
        return LeftAlone(reason="a table that stays is not reached as those that go are")
    return [*patches, *instructions_moved(code, choosers, every)]
