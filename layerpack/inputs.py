"""A build's local inputs: the function's files, and the key of all that goes into a build."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from layerpack import __version__
from layerpack.errors import RecipeError
from layerpack.lock import Lock
from layerpack.payload import FileEntry
from layerpack.recipe import Recipe
from layerpack.units import key_of, sha256_file, sorted_walk

_FUNCTION = "function"
# What editors, file managers and interpreters leave, and nobody means to deploy.
_LEFTOVERS = {"__pycache__", ".DS_Store", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def function_entries(recipe: Recipe) -> tuple[FileEntry, ...] | None:
    """The function package's files, paths relative to /var/task; None where the recipe has none.

    Also checks every other local file that the recipe names. Raises RecipeError for one that is
    absent, and for a handler that is not in the function's folder.
    """
    for workload in recipe.workloads:
        _need(recipe, f"workloads.{workload.name}.event", workload.event)
    for asset in recipe.assets:
        for key, value in (("file", asset.file), ("prepare", asset.prepare)):
            if value is not None:
                _need(recipe, f"assets.{asset.name}.{key}", value)
    if recipe.function is None:
        return None
    root = recipe.folder / recipe.function.source
    if not root.is_dir():
        raise RecipeError(
            f"{recipe.path}: function.source: {root} is not a folder",
            "The function's code is a folder beside the recipe.",
        )
    for linked in sorted(path for path in root.rglob("*") if path.is_symlink() and path.is_dir()):
        raise RecipeError(
            f"{recipe.path}: function.source: {linked} is a link to a folder",
            "Put the folder itself there.",
        )
    entries = []
    for path in sorted_walk(root):
        if _LEFTOVERS & set(path.parts) or path.suffix == ".pyc":
            continue
        file = root / path
        if not file.is_file():
            raise RecipeError(
                f"{recipe.path}: function.source: {file} is not a file (a dead link?)"
            )
        executable = bool(file.stat().st_mode & 0o100)
        entries.append(FileEntry.of(file, path.as_posix(), _FUNCTION, executable=executable))
    module = recipe.function.handler.rsplit(".", 1)[0].replace(".", "/")
    if not any(entry.path in (f"{module}.py", f"{module}/__init__.py") for entry in entries):
        raise RecipeError(
            f"{recipe.path}: function.handler: '{recipe.function.handler}' needs {module}.py in "
            f"{root}, which is not there"
        )
    return tuple(entries)


def _need(recipe: Recipe, key: str, value: str) -> None:
    path = recipe.folder / value
    if not path.exists():
        near = difflib.get_close_matches(
            path.name, sorted(other.name for other in path.parent.glob("*")), n=1
        )
        raise RecipeError(
            f"{recipe.path}: {key}: {path} does not exist",
            f"Did you mean {path.with_name(near[0])}?" if near else "",
        )


def build_key(recipe: Recipe, lock: Lock, *, interpreter: bool) -> str:
    """A key of all that a build's bytes depend on, this program included.

    `interpreter`: whether there is one of the target's version, without which no bytecode is
    compiled. Its patch version is left out: bytecode is the same for all of them (PEP 3147), and
    asking for it would take longer than all the rest.
    """
    return key_of(
        __version__,
        _code_digest(),
        recipe.model_dump(mode="json", by_alias=True),
        lock.sha256,
        interpreter,
        [(path, digest) for path, digest in _local_files(recipe)],
    )


def _local_files(recipe: Recipe) -> list[tuple[str, str]]:
    names = [asset.file for asset in recipe.assets if asset.file]
    for asset in recipe.assets:
        if asset.prepare:
            # A script may import its neighbours. Data beside it does not count (nor, then, does a
            # build folder there): what a script reads is the asset's source.
            home = (recipe.folder / asset.prepare).parent
            names += [
                (home / path).relative_to(recipe.folder).as_posix()
                for path in sorted_walk(home)
                if path.suffix == ".py"
            ]
    names += [text.split(":")[0] for text in recipe.passes]
    names += [workload.event for workload in recipe.workloads]
    if recipe.function is not None:
        names.append(recipe.function.source)
    found: dict[str, str] = {}
    for name in names:
        path = recipe.folder / name
        inside = [path / one for one in sorted_walk(path)] if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and not _LEFTOVERS & set(file.parts):
                found[file.relative_to(recipe.folder).as_posix()] = sha256_file(file)
    return sorted(found.items())


@cache
def _code_digest() -> str:
    """This package's own code and data: a build by another version is not fresh."""
    root = Path(__file__).parent
    return key_of(
        [
            (path.as_posix(), sha256_file(root / path))
            for path in sorted_walk(root)
            if "__pycache__" not in path.parts
        ]
    )
