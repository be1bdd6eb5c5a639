"""Import times as a tree of packages, from what `-X importtime` prints.

The format is that of CPython's import.c: a line for each module once it is imported, so below what
it imports; microseconds of itself and with all below; two spaces a level before the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(r"^import time:\s*(?P<own>\d+) \|\s*(?P<all>\d+) \| (?P<name> *\S+)\s*$")
#: AWS's client, which imports the function.
_CLIENT: Final = "awslambdaric"
#: Of all the time; less is not worth a line.
_LEAST_SHARE: Final = 0.02
_DEEPEST: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportTime:
    """A package's first import: milliseconds with all that it imports, and how deep it stands."""

    name: str
    depth: int
    milliseconds: float


@dataclass(slots=True)
class _Node:
    name: str
    microseconds: int
    below: list[_Node] = field(default_factory=list)


def import_tree(text: str, module: str = "") -> tuple[ImportTime, ...]:
    """The packages that took longest, each below the one that imported it first.

    What AWS's client imports before it imports the function's `module`, and of itself later, is
    left out; so is a line of that module's own, which not all versions of Python print.
    """
    waiting: dict[int, list[_Node]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name = match["name"].lstrip()
        depth = (len(match["name"]) - len(name)) // 2
        node = _Node(name.partition(".")[0], int(match["all"]), waiting.pop(depth + 1, []))
        if name == f"{_CLIENT}.__main__":
            # The client is imported; what comes now is the function's.
            waiting.clear()
        elif depth == 0 and name == module:
            waiting.setdefault(depth, []).extend(node.below)
        elif depth > 0 or node.name != _CLIENT:
            waiting.setdefault(depth, []).append(node)
    roots = waiting.get(0, [])
    least = _LEAST_SHARE * sum(node.microseconds for node in roots)
    return tuple(_shown(roots, "", 0, max(least, 1.0)))


def imported(text: str) -> frozenset[str]:
    """The names of all modules that were imported."""
    found = (_LINE.match(line) for line in text.splitlines())
    return frozenset(match["name"].lstrip() for match in found if match)


def _shown(nodes: list[_Node], parent: str, depth: int, least: float) -> list[ImportTime]:
    found = []
    for node in _packages(nodes, parent):
        if node.microseconds >= least and depth <= _DEEPEST:
            milliseconds = round(node.microseconds / 1000, 1)
            found.append(ImportTime(name=node.name, depth=depth, milliseconds=milliseconds))
            found += _shown(node.below, node.name, depth + 1, least)
    return found


def _packages(nodes: list[_Node], parent: str) -> list[_Node]:
    """What `nodes` import but for modules of `parent` itself, the longest first."""
    found: dict[str, _Node] = {}
    for node in nodes:
        for one in [node] if node.name != parent else _packages(node.below, parent):
            # Modules of one package that are imported one after the other are one line.
            known = found.setdefault(one.name, _Node(one.name, 0))
            known.microseconds += one.microseconds
            known.below += one.below
    return sorted(found.values(), key=lambda node: (-node.microseconds, node.name))
