"""The editors' schema of recipes: it accepts and rejects what the model does."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from layerpack import data
from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from tests.support.recipes import minimal, schema

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def schema_of_the_model() -> str:
    """The schema as it must ship."""
    made = Recipe.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "layerpack recipe"
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_schema_that_ships_is_that_of_the_model() -> None:
    assert data.text("recipe.schema.json") == schema_of_the_model(), (
        "the model changed; write its schema with: python -m tests.unit.test_recipe_schema"
    )


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.name))
def test_the_schema_and_the_model_accept_the_recipes(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())
    assert Recipe.load(path).name == path.stem


@pytest.mark.parametrize(
    "more",
    [
        "requirement: [a]",
        "strip: {test: true}",
        "native: {keep: [a]}",
        "native: {level: 0}",
        "assets: [{name: a, whel: b==1}]",
        "patches: [{package: a, replace: {patern: x, with: y}}]",
        "system_libraries: auto",
        "architecture: riscv64",
        "layers: {max: three}",
        "system-libraries: {optional: libx.so}",
    ],
)
def test_the_schema_rejects_what_the_model_rejects(tmp_path: Path, more: str) -> None:
    path = minimal(tmp_path, more=more)
    with pytest.raises(RecipeError):
        Recipe.load(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema())


if __name__ == "__main__":
    (ROOT / "layerpack/data/recipe.schema.json").write_text(schema_of_the_model(), encoding="utf-8")
