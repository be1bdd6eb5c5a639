"""The repository's recipes: valid, locked, and alike where they mean to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.inputs import function_entries
from layerpack.lock import Lock
from layerpack.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_lock_holds(name: str) -> None:
    recipe = Recipe.load(RECIPES / f"{name}.yaml")
    lock = Lock.read(recipe.lock_path)
    assert lock is not None
    assert lock.stale_reason(recipe) == ""
    assert function_entries(recipe)


def test_what_handlers_share_is_the_same_everywhere() -> None:
    # A function package stands alone, so that each handler has its own copy of these modules.
    for module in ("assets.py", "gateway.py", "texts.py", "language.py"):
        copies = {path.read_text() for path in RECIPES.glob(f"*/handler/{module}")}
        assert len(copies) == 1, module
