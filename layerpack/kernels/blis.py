"""BLIS built for many processors: a configuration for each kind, which fills in a table of kernels.

`bli_gks_init` hands the functions of every configuration (`bli_cntx_init_haswell` and two more) to
a registry, which calls them all; the kernels are reached through the tables that they fill in.
Where a configuration goes, those of a kept one are handed over in its place, so that its table has
their kernels, whatever the processor is taken for.

Configurations, and what they need: BLIS's `frame/base/bli_cpuid.c` (0.9 and 1.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import NO_DROPS
from layerpack.kernels.features import level_needed
from layerpack.kernels.graph import only_behind, references_to
from layerpack.kernels.redirect import Words, instructions_moved
from layerpack.kernels.variants import (
    Choice,
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
MARK: Final = b"\0bli_gks_register_cntx\0"
_ENTRY: Final = re.compile(r"bli_cntx_init_([a-z0-9]+)(_ref|_ind|)")
#: The functions of each configuration that the registry gets, by what they are for.
_Entries = Mapping[str, Mapping[str, int]]
#: The configurations that stand for a level; the first takes the place of those that go.
_CHOSEN: Final[Mapping[Level, tuple[str, ...]]] = {
    "baseline": ("generic",),
    "avx2": ("haswell", "zen", "zen2", "zen3"),
    "avx512": ("skx",),
}
#: Those that go whatever is kept, and a level that all processors have for which they are chosen.
#: Xeon Phi (knl) has another AVX-512 than the level's.
_OTHERS: Final[Mapping[str, Level]] = {
    **dict.fromkeys(
        ("penryn", "sandybridge", "bulldozer", "piledriver", "steamroller"), "baseline"
    ),
    "excavator": "baseline",
    "knl": "avx2",
}


def find(code: Code, kept: Sequence[Level]) -> Variants | LeftAlone:
    """The configurations that a library has kernels for, and the drops that leave those of `kept`
    levels. Raises ElfError."""
    if code.source.machine != "x86_64":
        # Wheels for other processors have one configuration.
        return Variants(found=(), drops=NO_DROPS)
    known = {name: level for level, names in _CHOSEN.items() for name in names} | dict(_OTHERS)
    entries = {name: one for name, one in _entries(code).items() if name in known}
    if len(entries) < 2 or len({frozenset(one) for one in entries.values()}) != 1:
        return LeftAlone(reason="it has no configurations of BLIS for different processors")
    floors = {name: known[name] for name in entries}
    choice = choose(floors, _CHOSEN, kept, levels_of(code))
    if isinstance(choice, LeftAlone):
        return choice
    found = tuple(_variant(code, entries, name, kept=name in choice.stay) for name in entries)
    if doubt := above_its_floor(found, floors, levels_of(code)):
        return doubt
    return _without(code, kept, entries, choice, found)


def _without(
    code: Code, kept: Sequence[Level], entries: _Entries, choice: Choice, found: tuple[Variant, ...]
) -> Variants | LeftAlone:
    """What goes with the configurations that do not stay."""
    nodes = _nodes(code, entries, choice.instead)
    unused = only_behind(code, nodes, _named(code, choice.instead))
    users = {start for start, _ in references_to(code, nodes)} - unused
    if not nodes <= unused or any(user >= len(code.functions) for user in users):
        return LeftAlone(reason="something else than BLIS's registry uses a configuration")
    moves = Words(code).read_through(
        {
            at: entries[to][kind]
            for name, to in choice.instead.items()
            for kind, at in entries[name].items()
        }
    )
    if moves is None:
        return LeftAlone(reason="a configuration that stays is not reached as those that go are")
    made = drops(
        code,
        unused,
        patches=instructions_moved(code, sorted(users), moves),
        variants=found,
        kept=kept,
        needs=choice.needs,
    )
    return Variants(found=found, drops=made)


def _variant(code: Code, entries: _Entries, name: str, *, kept: bool) -> Variant:
    own = only_behind(code, _nodes(code, entries, [name]), _named(code, [name]))
    returns = any(name in names for names in _CHOSEN.values())
    level = level_needed(code, own)
    return variant(code, own, name=name, level=level, kept=kept, returns=returns)


def _entries(code: Code) -> _Entries:
    found: dict[str, dict[str, int]] = {}
    for name, at in code.addresses.items():
        if match := _ENTRY.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = at
    return found


def _nodes(code: Code, entries: _Entries, names: Iterable[str]) -> frozenset[int]:
    nodes = (code.node(at) for name in names for at in entries[name].values())
    return frozenset(node for node in nodes if node is not None)


def _named(code: Code, names: Iterable[str]) -> frozenset[int]:
    """Functions that are called after one of some configurations. Others may use them as well."""
    pattern = re.compile(rf"bli_\w+_({'|'.join(names)})(_\w+)?")
    nodes = (code.node(at) for at, name in code.symbols.items() if pattern.fullmatch(name))
    return frozenset(node for node in nodes if node is not None and node < len(code.functions))
