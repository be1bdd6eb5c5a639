"""Leave out the code that only operators which go would reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from layerpack.elf.drops import Dropped, Drops, Entry
from layerpack.operators.choose import Choice, Operators, UnsureError
from layerpack.operators.registry import Registered

_THROWER: Final = "_ZSt19__throw_logic_errorPKc"
_ADVICE: Final = "add it to mxnet.operators in the recipe, and build again"
_NO_GRADIENT: Final = (
    " was left out of this layer: remove mxnet.training from the recipe, and build again"
)
#: So many operators are named, where a function belongs to several and nothing tells which.
_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Owners:
    """For each node of code that goes, the operators (those alone that go) that reach it."""

    by_node: Mapping[int, tuple[str, ...]]


def owners(operators: Operators, choice: Choice, *, training: bool) -> Owners:
    """Who reaches what goes; the gradients of operators that stay count as those of `gradients`."""
    found: dict[int, list[str]] = defaultdict(list)
    stays = bytes(choice.reached)
    for name, functions in operators.functions.items():
        gone = functions if name not in choice.kept else _gradients(functions, training=training)
        if not gone:
            continue
        seen = bytearray(stays)
        nodes = [node for node in operators.nodes_of(gone) if not seen[node]]
        for node in operators.code.reached_from(nodes, cut=operators.cut, seen=seen):
            found[node].append(name)
    return Owners(by_node={node: tuple(sorted(names)) for node, names in found.items()})


def drops(operators: Operators, choice: Choice, *, training: bool) -> Drops:
    """What is left out of the library. Raises UnsureError where callers could not be told."""
    thrower = operators.code.stub_of(_THROWER)
    if not thrower:
        raise UnsureError("it has no way to throw an exception")
    reached = owners(operators, choice, training=training)
    functions = operators.code.functions
    dropped = [
        Dropped(
            start=functions[node].start,
            end=functions[node].end,
            name=functions[node].name,
            hint=_hint(names),
        )
        for node, names in sorted(reached.by_node.items())
        if node in operators.code.described
    ]
    gone = {one.start for one in dropped}
    return Drops(
        dropped=tuple(dropped),
        entries=tuple(_entries(operators, choice, gone)),
        thrower=thrower,
    )


def _gradients(functions: tuple[Registered, ...], *, training: bool) -> tuple[Registered, ...]:
    return () if training else tuple(one for one in functions if one.is_gradient)


def _hint(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"it belongs to MXNet's operator {names[0]}{more}: {_ADVICE}"


def _entries(operators: Operators, choice: Choice, gone: set[int]) -> Iterator[Entry]:
    """The functions of operators that are gone, each with what it tells its caller."""
    users: dict[int, list[tuple[str, Registered]]] = defaultdict(list)
    for name, functions in operators.functions.items():
        for one in functions:
            for vaddr in {one.called, one.invoker}:
                users[vaddr].append((name, one))
    for vaddr, using in sorted(users.items()):
        if vaddr not in gone:
            continue
        names = sorted({name for name, _ in using})
        kept = [name for name in names if name in choice.kept]
        # An invoker gets the object first, and a plain function what the invoker passes on.
        arguments = {(2 if vaddr == one.invoker else 1) if one.argument else 0 for _, one in using}
        steps = {one.steps for _, one in using}
        told = len(arguments) == len(steps) == 1
        yield Entry(
            vaddr=vaddr,
            before="the gradient of MXNet's operator " if kept else "MXNet's operator ",
            name=_either(names),
            after=_NO_GRADIENT if kept else f" was left out of this layer: {_ADVICE}",
            argument=arguments.pop() if told else 0,
            steps=steps.pop() if told else 0,
        )


def _either(names: list[str]) -> str:
    if len(names) <= _NAMED:
        return " or ".join(names)
    return f"{', '.join(names[:_NAMED])} or one of {len(names) - _NAMED} others"
