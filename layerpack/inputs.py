"""A build's local inputs: the function's files, and the key of all that goes into a build."""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from pathlib import Path

from layerpack import __version__
from layerpack.errors import RecipeError
from layerpack.lock import Lock
from layerpack.payload import FileEntry
from layerpack.recipe import Recipe
from layerpack.units import key_of, odd_path, python_files, sha256_file, sorted_walk

_FUNCTION = "function"
# What editors, file managers and interpreters leave, and nobody means to deploy.
_LEFTOVERS = {"__pycache__", ".DS_Store", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def function_entries(recipe: Recipe) -> tuple[FileEntry, ...] | None:
    """The function package's files, paths relative to /var/task; None where the recipe has none.

    Also checks every other local file that the recipe names. Raises RecipeError for one that is
    absent, and for a handler that is not in the function's folder.
    """
    for workload in recipe.workloads:
        key = f"workloads.{workload.name}.event"
        _need(recipe, key, workload.event)
        try:
            json.loads((recipe.folder / workload.event).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"{recipe.path}: {key}: {workload.event} is not a JSON file: {error}"
            ) from None
    for link in recipe.resolve.find_links:
        if "://" not in link:
            _need(recipe, "resolve.find-links", link)
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
    if odd := odd_path(root):
        raise RecipeError(
            f"{recipe.path}: function.source: {root}: {odd}",
            "A function package holds files and folders with UTF-8 names.",
        )
    entries = []
    for path in sorted_walk(root):
        if _LEFTOVERS & set(path.parts) or path.suffix == ".pyc":
            continue
        file = root / path
        executable = bool(file.stat().st_mode & 0o100)
        entries.append(FileEntry.of(file, path.as_posix(), _FUNCTION, executable=executable))
    _check_handler(recipe, recipe.function.handler, root, entries)
    return tuple(entries)


def _check_handler(recipe: Recipe, handler: str, root: Path, entries: list[FileEntry]) -> None:
    """The handler's module must be in the package and name the function."""
    module, _, function = handler.rpartition(".")
    path = module.replace(".", "/")
    where = f"{recipe.path}: function.handler: '{handler}'"
    entry = next((e for e in entries if e.path in (f"{path}.py", f"{path}/__init__.py")), None)
    if entry is None:
        raise RecipeError(
            f"{where} needs {path}.py in {root}, the function.source, which is not there"
        )
    text = entry.source.read_text(encoding="utf-8", errors="replace")
    if not re.search(rf"\b{re.escape(function)}\b", text):
        raise RecipeError(f"{where}: {entry.source} names no '{function}'")


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


def build_key(
    recipe: Recipe, lock: Lock, *, compressor: str, interpreter: bool, image: str = ""
) -> str:
    """A key of all that a build's bytes depend on, this program included.

    `compressor` names the one that writes the zips, and its version; `image` is what was built in,
    empty for this machine; `interpreter`: whether there
    is one of the target's version, without which no bytecode is compiled. Its patch version is
    left out (the manifest has it): all patch versions load the same bytecode, and asking for it
    would take longer than all the rest.
    """
    return key_of(
        __version__,
        _code_digest(),
        recipe.model_dump(mode="json", by_alias=True),
        lock.sha256,
        compressor,
        interpreter,
        image,
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
                (home / path).relative_to(recipe.folder).as_posix() for path in python_files(home)
            ]
    names += [text.rpartition(":")[0] for text in recipe.passes]
    names += [workload.event for workload in recipe.workloads]
    if recipe.recording_path.is_file():
        names.append(recipe.recording_path.name)
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
