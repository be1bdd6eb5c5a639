"""See which operators run: the functions that do an operator's work, as places to watch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from layerpack.elf.drops import Drops
from layerpack.operators.choose import Operators
from layerpack.operators.registry import MAKER


def probed(operators: Operators) -> Mapping[int, tuple[str, ...]]:
    """Addresses of functions, each with the operators whose work it does.

    Operators that share a function cannot be told from one another by it; all of them count as
    run, and cost no more than one.
    """
    found: dict[int, set[str]] = defaultdict(set)
    for name, functions in operators.functions.items():
        # What makes an operator of the older kind is its own; all else is one for all of them.
        makers = [one for one in functions if one.attribute == MAKER]
        for one in makers or functions:
            if one.does_work:
                found[one.called].add(name)
    backward = operators.registry.backward
    # A gradient that does what an operator does runs nothing of its own.
    return {
        vaddr: tuple(sorted(names - backward or names)) for vaddr, names in sorted(found.items())
    }


def probing(operators: Operators) -> Drops:
    """Nothing left out, and all these functions watched."""
    return Drops(probes=tuple(probed(operators)))
