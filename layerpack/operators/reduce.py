"""Leave out the code that only operators which go would reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from layerpack.elf.drops import NO_DROPS, Dropped, Drops, Entry
from layerpack.elf.unwinding import unwinding_of
from layerpack.operators.choose import Choice, Operators
from layerpack.operators.registry import Registered
from layerpack.operators.thrower import thrower

_ADVICE: Final = "add it to mxnet.operators in the recipe, and build again"
_TRAIN: Final = "remove mxnet.training from the recipe, and build again"
_EITHER: Final = (
    "add it to mxnet.operators in the recipe, or remove mxnet.training where a gradient needs it, "
    "and build again"
)
#: So many operators are named, where a function belongs to several and nothing tells which.
_NAMED: Final = 3


def owners(operators: Operators, choice: Choice) -> Mapping[int, tuple[str, ...]]:
    """For each node of code that goes, the operators (those alone that go) that reach it."""
    found: dict[int, list[str]] = defaultdict(list)
    stays = bytes(choice.reached)
    for name, functions in operators.functions.items():
        if name in choice.kept:
            continue
        seen = bytearray(stays)
        nodes = operators.nodes_of(functions)
        for node in operators.code.reached_from(nodes, cut=operators.cut, seen=seen):
            found[node].append(name)
    return {node: tuple(sorted(names)) for node, names in found.items()}


def drops(operators: Operators, choice: Choice) -> Drops:
    """What is left out of the library. Raises UnsureError where callers could not be told."""
    reached = owners(operators, choice)
    functions = operators.code.functions
    dropped = [
        Dropped(
            start=functions[node].start,
            end=functions[node].end,
            name=functions[node].name,
            hint=_hint(names),
        )
        for node, names in sorted(reached.items())
        if node in operators.code.described
    ]
    if not dropped:
        return NO_DROPS
    gone = {one.start for one in dropped}
    throws = thrower(operators.code, dropped)
    return Drops(
        dropped=throws.dropped,
        laid=(throws.patch,),
        entries=tuple(_entries(operators, gone, choice)),
        thrower=throws.vaddr,
        cleared=unwinding_of(operators.code, (one.start for one in dropped)),
    )


def _hint(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"it belongs to MXNet's operator {names[0]}{more}: {_ADVICE}"


def _entries(operators: Operators, gone: set[int], choice: Choice) -> Iterator[Entry]:
    """The functions of operators that are gone, each with what it tells its caller."""
    users: dict[int, list[tuple[str, Registered]]] = defaultdict(list)
    for name, functions in operators.functions.items():
        for one in functions:
            for vaddr in {one.called, one.invoker}:
                users[vaddr].append((name, one))
    backward = operators.registry.backward
    for vaddr, using in sorted(users.items()):
        if vaddr not in gone:
            continue
        names = {name for name, _ in using}
        # An invoker gets the object first, and a plain function what the invoker passes on.
        arguments = {(2 if vaddr == one.invoker else 1) if one.argument else 0 for _, one in using}
        steps = {one.steps for _, one in using}
        told = len(arguments) == len(steps) == 1
        advice = _ADVICE
        if not choice.training and names & backward:
            advice = _TRAIN if names <= backward else _EITHER
        yield Entry(
            vaddr=vaddr,
            before="MXNet's operator ",
            name=_either(sorted(names - backward or names)),
            after=f" was left out of this layer: {advice}",
            argument=arguments.pop() if told else 0,
            steps=steps.pop() if told else 0,
        )


def _either(names: list[str]) -> str:
    if len(names) <= _NAMED:
        return " or ".join(names)
    return f"{', '.join(names[:_NAMED])} or one of {len(names) - _NAMED} others"
