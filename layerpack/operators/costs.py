"""What each operator costs: the code that stays for it alone, or that keeping it would add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from layerpack.operators.choose import Choice, Operators


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """An operator, whether and why it stays, and bytes of code: those that would go without it, or
    that would stay with it and what it calls for."""

    name: str
    kept: bool
    reason: str
    code_bytes: int


def costs(
    operators: Operators, choice: Choice, wished: Mapping[str, str], *, training: bool
) -> Iterator[Cost]:
    """Every operator, by name. `wished` says of each that was asked for, by whom."""
    for name in sorted(operators.functions):
        if name in choice.kept:
            yield Cost(
                name=name,
                kept=True,
                reason=choice.kept[name] or wished[name],
                code_bytes=_size(operators, _alone(operators, choice, name, training=training)),
            )
        else:
            added = operators.with_one_more(choice, name, training=training)
            yield Cost(
                name=name,
                kept=False,
                reason="nothing asks for it",
                code_bytes=_size(operators, added),
            )


def _alone(operators: Operators, choice: Choice, name: str, *, training: bool) -> Iterator[int]:
    """The nodes that nothing but one operator reaches."""
    seen = bytearray(operators.base)
    for other in choice.kept:
        if other != name:
            nodes = operators.nodes_of(operators.used(other, training=training))
            operators.code.reach(nodes, cut=operators.cut, seen=seen)
    return (node for node in range(operators.code.size) if choice.reached[node] > seen[node])


def _size(operators: Operators, nodes: Iterable[int]) -> int:
    functions = operators.code.functions
    return sum(functions[node].size for node in nodes if node < len(functions))
