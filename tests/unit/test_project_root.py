"""A recipe's paths may lead anywhere in its project, and nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerpack.assets import AssetContext, make_asset
from layerpack.cache import Cache
from layerpack.errors import RecipeError
from layerpack.inputs import build_key, function_entries
from layerpack.lock import Lock
from layerpack.payload import Payload
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Asset
from tests.support.recipes import minimal

MORE = """\
assets:
  - {name: model, file: ../models/model.bin}
  - {name: made, file: ../models, prepare: ../tools/make.py}
function: {source: ../src}
workloads: [{name: embed, event: ../events/embed.json}]
passes: [../own.py:Own]
"""
FILES = {
    "models/model.bin": "1",
    "tools/make.py": "",
    "src/app.py": "def handler(): ...",
    "events/embed.json": "{}",
    "own.py": "class Own: ...",
}


def project(folder: Path, marker: str = "pyproject.toml") -> Path:
    """A project with its recipe in a folder of its own; gives the recipe."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if marker == ".git":
        (folder / marker).mkdir()
    elif marker:
        (folder / marker).touch()
    return minimal(folder, name="deploy/bert.yaml", more=MORE)


def key(path: Path) -> str:
    recipe = Recipe.load(path)
    lock = Lock.make(recipe, f"alpha==1.0 --hash=sha256:{'a' * 64}\n", ())
    return build_key(recipe, lock, compressor="deflate 1", interpreter=True)


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git", ".git file"])
def test_paths_beside_the_recipes_folder_are_allowed_in_a_project(
    tmp_path: Path, marker: str
) -> None:
    # A worktree and a submodule have a file of that name.
    path = project(tmp_path, marker.removesuffix(" file") if marker != ".git file" else "")
    if marker == ".git file":
        (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    recipe = Recipe.load(path)
    entries = function_entries(recipe)
    assert entries is not None
    assert [entry.path for entry in entries] == ["app.py"]
    assert recipe.root == tmp_path
    assert recipe.recorded("../models/model.bin") == "models/model.bin"


def test_without_a_project_the_recipes_folder_is_the_root(tmp_path: Path) -> None:
    path = project(tmp_path, "")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert caught.value.exit_code == 4
    told = str(caught.value)
    for name in (
        *("assets[0].file", "assets[1].prepare", "function.source", "workloads[0].event"),
        *("passes[0]", str(tmp_path / "deploy"), "pyproject.toml"),
    ):
        assert name in told


@pytest.mark.parametrize("value", ["../../x", "../../../../../../etc", "/etc/passwd", "../link"])
def test_a_path_out_of_the_project_is_refused_with_the_projects_root(
    tmp_path: Path, value: str
) -> None:
    path = project(tmp_path / "clone")
    (tmp_path / "clone/link").symlink_to("/etc")
    path.write_text(path.read_text().replace("../src", value))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    told = str(caught.value)
    assert told.startswith(f"{path}:")
    assert "function.source" in told
    assert value in told
    assert str(tmp_path / "clone") in told.replace(str(path), "")


def test_the_nearest_marker_counts(tmp_path: Path) -> None:
    path = project(tmp_path, ".git")
    (tmp_path / "deploy/pyproject.toml").touch()
    with pytest.raises(RecipeError, match="leads out of the project"):
        Recipe.load(path)


def test_the_key_is_the_same_wherever_the_clone_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "deep/two")
    other = tmp_path / "deep/two/deploy/bert.yaml"
    assert key(first) == key(other)
    monkeypatch.chdir(other.parent)
    assert key(Path("bert.yaml")) == key(first)
    monkeypatch.chdir(other.parent.parent)
    assert key(Path("deploy/bert.yaml")) == key(first)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file_beside_the_recipes_folder_changes_the_key(
    tmp_path: Path, name: str
) -> None:
    path = project(tmp_path)
    before = key(path)
    (tmp_path / name).write_text(FILES[name] + " ")
    assert key(path) != before


def test_an_assets_origin_is_relative_to_the_project(tmp_path: Path) -> None:
    recipe = Recipe.load(project(tmp_path / "clone"))

    def wheel(asset: Asset) -> tuple[Path, str, str]:
        raise AssertionError

    cache = Cache(tmp_path / "cache")
    context = AssetContext(
        recipe=recipe, payload=Payload([]), payload_key="", cache=cache, wheel=wheel
    )
    made = make_asset(recipe.assets[0], context)
    assert made.origin == "models/model.bin"
    assert [entry.path for entry in made.entries] == ["assets/model/model.bin"]
