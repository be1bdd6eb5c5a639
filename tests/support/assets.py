"""An asset of a recipe, made without a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.cache import Cache
from layerpack.errors import LayerpackError
from layerpack.payload import Payload
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Asset
from tests.support.recipes import HERE, minimal

ZERO = "0" * 64


def no_wheel(asset: Asset) -> tuple[Path, str, str]:
    """There are no wheels in most of these tests."""
    raise AssertionError(asset.name)


def context(
    folder: Path,
    cache: Cache,
    keys: str,
    payload: Payload | None = None,
    runtime: str = HERE,
) -> AssetContext:
    """What making the one asset of the recipe needs; the asset's keys are given as flow YAML."""
    path = minimal(folder, runtime=runtime, more=f"assets: [{{name: model, {keys}}}]")
    return AssetContext(
        recipe=Recipe.load(path),
        payload=payload or Payload([]),
        payload_key="key",
        cache=cache,
        wheel=no_wheel,
    )


def make(chosen: AssetContext) -> AssetRecord:
    """The asset."""
    return make_asset(chosen.recipe.assets[0], chosen)


def contents(record: AssetRecord) -> dict[str, str]:
    """Each path in the layer with its text."""
    return {entry.path: entry.source.read_text() for entry in record.entries}


def refusal(chosen: AssetContext, error: type[LayerpackError]) -> str:
    """Why there is no asset, without the recipe's folder; no scratch is left."""
    with pytest.raises(error) as caught:
        make(chosen)
    scratch = chosen.cache.root / "scratch"
    assert not (scratch.is_dir() and list(scratch.iterdir()))
    return str(caught.value).replace(f"{chosen.recipe.folder}/", "")


def script(folder: Path, text: str, name: str = "prepare.py") -> None:
    """A prepare script."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("import sys\nfrom pathlib import Path\n" + text)
