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


def costs(operators: Operators, choice: Choice, wished: Mapping[str, str]) -> Iterator[Cost]:
    """Every operator, by name. `wished` says of each that was asked for, by whom."""
    for name in sorted(operators.functions):
        if name in choice.kept:
            reason = choice.kept[name] or wished[name]
            nodes = _alone(operators, choice, name)
        else:
            reason = "nothing asks for it"
            added = operators.with_one_more(choice, name).reached
            nodes = _more(added, choice.reached)
        yield Cost(
            name=name, kept=name in choice.kept, reason=reason, code_bytes=_size(operators, nodes)
        )


def _alone(operators: Operators, choice: Choice, name: str) -> Iterator[int]:
    """The nodes that nothing but one operator reaches."""
    seen = bytearray(operators.base)
    for other in choice.kept:
        if other != name:
            followed = filter(choice.follows, operators.functions[other])
            operators.code.reach(operators.nodes_of(followed), cut=operators.cut, seen=seen)
    # What gradients are planned with is no operator's own.
    for node in _more(choice.planned, bytearray(len(seen))):
        seen[node] = 1
    return _more(choice.reached, seen)


def _more(marks: bytearray, others: bytearray) -> Iterator[int]:
    """The nodes that the first marks alone."""
    # Compared as numbers: only few differ, and those are looked for.
    difference = int.from_bytes(marks, "little") & ~int.from_bytes(others, "little")
    raw = difference.to_bytes(len(marks), "little")
    at = raw.find(1)
    while at >= 0:
        yield at
        at = raw.find(1, at + 1)


def _size(operators: Operators, nodes: Iterable[int]) -> int:
    functions = operators.code.functions
    return sum(functions[node].size for node in nodes if node < len(functions))
