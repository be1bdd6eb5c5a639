"""Which operators a recipe asks for: by name, by what its workloads ran, by its models' symbols."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from layerpack.errors import RecipeError
from layerpack.operators.registry import Registry

#: A symbol file of a model is a few hundred kilobytes; more is some other data.
_LARGEST_SYMBOL = 64 * 2**20


def symbol_operators(path: Path) -> frozenset[str]:
    """The operators that a symbol file of MXNet's names (symbol.save, HybridBlock.export); none for
    any other JSON."""
    if path.stat().st_size > _LARGEST_SYMBOL:
        return frozenset()
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return frozenset()
    return frozenset(_nodes(value)) - {"null"}


def _nodes(value: Any) -> Iterator[str]:
    """Of a graph and those within its nodes, as control flow has them."""
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        return
    if "arg_nodes" not in value:
        return
    for node in value["nodes"]:
        if isinstance(node, dict) and isinstance(node.get("op"), str):
            yield node["op"]
            for inner in node.get("subgraphs") or ():
                yield from _nodes(inner)


def wished(
    registry: Registry,
    *,
    recipe: Path,
    listed: Iterable[str],
    recorded: Iterable[str],
    models: Mapping[str, Path],
) -> dict[str, str]:
    """Operators by their own names, with who asks for them.

    `listed` stand in the file `recipe`, `recorded` ran in its workloads, `models` are JSON files by
    the names to tell them by. Raises RecipeError for a listed one that there is not; one that a
    model names may be another library's.
    """
    found: dict[str, str] = {}
    for name in listed:
        if name not in registry.aliases:
            near = difflib.get_close_matches(name, registry.aliases, n=1)
            raise RecipeError(
                f"{recipe}: mxnet.operators: MXNet has no operator '{name}'",
                f"Did you mean '{near[0]}'?" if near else "mxnet.list_all_op_names() has them all.",
            )
        found.setdefault(registry.aliases[name], "the recipe names it")
    for name in sorted(recorded):
        if name in registry.aliases:
            found.setdefault(registry.aliases[name], "a workload runs it")
    for label, path in sorted(models.items()):
        for name in sorted(symbol_operators(path)):
            if name in registry.aliases:
                found.setdefault(registry.aliases[name], f"{label} names it")
    return found
