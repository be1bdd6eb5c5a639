"""What is found of kernels for processors in a library, and what goes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import Dropped, Drops, Patch
from layerpack.processor_levels import LEVELS, Level

#: Architectures as recipes call them, by the names of machines in ELF files.
ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Kernels for one kind of processor: `name` is the family's (`HASWELL`), `level` what they
    need; `functions` are the numbers of the functions that are there for them alone, `size` their
    bytes. `kept` tells whether the levels that were asked for leave them, and `returns` whether
    they would be kept for their level."""

    name: str
    level: Level
    functions: tuple[int, ...]
    size: int
    kept: bool
    returns: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """The variants that a library has, and what goes with those that are not kept; nothing where
    all are."""

    found: tuple[Variant, ...]
    drops: Drops


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftAlone:
    """Why it cannot be told what goes of a library, so that nothing does; reads after its name."""

    reason: str


#: A family: what tells by a library's bytes whether it may have such kernels, and what finds them.
Finder = Callable[[Code, Sequence[Level]], Variants | LeftAlone]


def variant(
    code: Code,
    functions: Iterable[int],
    *,
    name: str,
    level: Level,
    kept: bool,
    returns: bool = True,
) -> Variant:
    """A variant of these functions."""
    numbers = tuple(sorted(functions))
    size = sum(code.functions[number].size for number in numbers)
    return Variant(name=name, level=level, functions=numbers, size=size, kept=kept, returns=returns)


def drops(
    code: Code,
    functions: Iterable[int],
    *,
    patches: Iterable[Patch],
    variants: Iterable[Variant],
    kept: Sequence[Level],
    needs: Level,
) -> Drops:
    """The drops of `functions`, with `patches` that see to it that nothing chooses them.

    `kept` are the levels of the recipe, and `needs` is what all that is left needs at least.
    """
    order = levels_of(code)
    cpu = f"cpu.{ARCHITECTURES[code.source.machine]}"
    hints = {}
    for one in variants:
        # What no level brings back was for other processors than a level's own.
        back = one.returns and one.level not in kept
        what = f"add '{one.level}' to {cpu} in" if back else f"leave {cpu} out of"
        hint = f"{what} the recipe"
        hints.update(dict.fromkeys(one.functions, hint))
    below = order.index(needs) > 0
    return Drops(
        dropped=tuple(
            Dropped(
                start=code.functions[number].start,
                end=code.functions[number].end,
                name=code.functions[number].name,
                hint=hints.get(number, f"leave {cpu} out of the recipe"),
            )
            for number in sorted(functions)
        ),
        patches=tuple(sorted(patches, key=lambda one: one.vaddr)),
        needs=needs if below else "",
        needs_hint=f"add '{order[0]}' to {cpu} in the recipe" if below else "",
    )


def levels_of(code: Code) -> tuple[Level, ...]:
    """The levels that there are for a library's machine, the lowest first."""
    return LEVELS[ARCHITECTURES[code.source.machine]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which variants stay: those named in `stay`. `instead` has for each of the others the one that
    takes its place, and `needs` is what a processor must have for all of that."""

    stay: frozenset[str]
    instead: Mapping[str, str]
    needs: Level


def choose(
    floors: Mapping[str, Level],
    stand_for: Mapping[Level, Sequence[str]],
    kept: Sequence[Level],
    order: Sequence[Level],
) -> Choice | LeftAlone:
    """The variants that stay for the `kept` levels.

    `floors` has the variants of a library, each with the highest level that all processors have
    which choose it; `stand_for` those that a level keeps, of which the first one takes the place
    of others; `order` are all levels, the lowest first. A level without variants of its own is the
    next lesser one that has some.
    """
    has = {level: [name for name in stand_for[level] if name in floors] for level in order}
    present = [level for level in order if has[level]]
    if not present:
        return LeftAlone(reason="it has none of the kernels that levels stand for")
    levels = {nearest(level, present, order) for level in kept}
    stay = {name for level in levels for name in has[level]}
    gone = {name: floor for name, floor in floors.items() if name not in stay}
    needs = nearest(order[0], levels, order)
    # Where no lesser variant is removed, the library runs on the processors that it ran on before.
    if all(order.index(floor) >= order.index(needs) for floor in gone.values()):
        needs = order[0]
    return Choice(
        stay=frozenset(stay),
        instead={name: has[nearest(floor, levels, order)][0] for name, floor in gone.items()},
        needs=needs,
    )


def above_its_floor(
    found: Iterable[Variant], floors: Mapping[str, Level], order: Sequence[Level]
) -> LeftAlone | None:
    """Why a library stays as it is, where a variant that is kept needs more than is known of it."""
    for one in found:
        if one.kept and order.index(one.level) > order.index(floors[one.name]):
            return LeftAlone(reason=f"its kernels for {one.name} need {one.level}")
    return None


def nearest(level: Level, among: Iterable[Level], order: Sequence[Level]) -> Level:
    """The one of some levels that takes the place of another: the highest that needs no more than
    it, or else the lowest."""
    some = sorted(among, key=order.index)
    return next((x for x in reversed(some) if order.index(x) <= order.index(level)), some[0])
