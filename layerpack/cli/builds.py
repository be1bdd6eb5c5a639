"""Finding a build by its folder or its recipe."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from layerpack.errors import UsageError
from layerpack.manifest import FileInventory, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundBuild:
    """A build folder's records."""

    folder: Path
    manifest: Manifest
    inventory: FileInventory


def find_build(path: Path) -> FoundBuild:
    """The build in a folder, or of a recipe (its `build/<name>`).

    Warns on standard error of a recipe that changed since it was built. Raises UsageError where
    there is no build.
    """
    folder = path
    if path.suffix in (".yaml", ".yml"):
        folder = _of_recipe(path)
    return FoundBuild(
        folder=folder,
        manifest=Manifest.read(folder / "manifest.json"),
        inventory=FileInventory.read(folder / "files.json"),
    )


def only_build() -> Path:
    """The one build below `build/`. Raises UsageError where there is none, or several."""
    folders = sorted(path.parent for path in Path("build").glob("*/manifest.json"))
    if len(folders) != 1:
        found = ", ".join(map(str, folders)) or "none"
        raise UsageError(f"which build? Found in build/: {found}", "Name one with --build.")
    return folders[0]


def _of_recipe(path: Path) -> Path:
    from layerpack.build_folder import BuildFolder
    from layerpack.lock import Lock
    from layerpack.pipeline import is_fresh
    from layerpack.recipe import Recipe

    recipe = Recipe.load(path)
    folder = Path("build") / recipe.name
    if not (folder / "manifest.json").is_file():
        raise UsageError(
            f"{path} is not built: there is no {folder} in the current folder",
            f"layerpack build {path}, or name the build's folder where it is.",
        )
    lock = Lock.read(recipe.lock_path)
    built = BuildFolder(folder)
    if lock is None or not is_fresh(built, recipe, lock, built.image()):
        sys.stderr.write(f"warning: {path} or its inputs changed since {folder} was built\n")
    return folder
