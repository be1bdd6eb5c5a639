"""Leave out test suites, except modules and files that the rest of the payload uses.

Some packages need their own tests at run time (networkx and numpy.testing import helpers from
there), so a folder's name alone decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from layerpack.passes import folders
from layerpack.passes.api import Edit, PassContext
from layerpack.payload import Payload
from layerpack.recipe import Recipe

_FOLDERS = frozenset({"tests", "test"})


class Tests:
    """`tests/` and `test/` folders of packages, and `conftest.py`, which pytest alone imports."""

    name: ClassVar[str] = "tests"
    summary: ClassVar[str] = "test suites that nothing else imports"
    after: ClassVar[frozenset[str]] = frozenset()

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.tests: false` turns it off."""
        return recipe.strip.tests

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove test suites; keep, with the importer's name, what other code needs of them."""
        found = {
            entry.path
            for entry in payload
            if (parts := folders.parts_in_site(payload, entry)) is not None
            and (_FOLDERS.intersection(parts[:-1]) or parts[-1] == "conftest.py")
        }
        return folders.plan_removal(
            payload, context, found, _FOLDERS | {"conftest"}, reason="test suite"
        )
