"""Leave out the bytecode that wheels and pip bring.

A zip's files get one date, so bytecode that is checked against its source's time is never valid
on Lambda: it costs room and a look. What is valid there is made anew (see compile.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.payload import Payload
from layerpack.recipe import Recipe


class Bytecode:
    """`__pycache__`, and `.pyc` files whose source lies beside them."""

    name: ClassVar[str] = "bytecode"
    summary: ClassVar[str] = "bytecode that wheels ship, which is never valid on Lambda"
    after: ClassVar[frozenset[str]] = frozenset()

    def wanted(self, recipe: Recipe) -> bool:
        """Always."""
        return True

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove bytecode; a `.pyc` without its source is the module itself and stays."""
        for entry in payload:
            if payload.in_site(entry.path) is None or not entry.path.endswith((".pyc", ".pyo")):
                continue
            # Python looks into __pycache__ only for a source that it has found.
            if "/__pycache__/" in entry.path or entry.path.endswith(".pyo"):
                yield Remove(path=entry.path, reason="bytecode")
            elif entry.path[:-1] in payload:
                yield Remove(path=entry.path, reason="bytecode beside its source")
            else:
                yield Keep(path=entry.path, reason="a module without source")
