"""A build's local inputs: the function's files, and the key of all that goes into a build."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from layerpack import __version__
from layerpack.child_variables import compiler_variables, processor_variables
from layerpack.errors import RecipeError
from layerpack.function_package import Refusal, asset_files, folder_mistakes, function_files
from layerpack.limits import event_problem
from layerpack.lock import Lock
from layerpack.payload import FileEntry
from layerpack.recipe import Recipe
from layerpack.recipe_mistakes import MistakeError, together
from layerpack.recipe_values import need_file
from layerpack.units import key_of, python_files, sha256_file, sorted_walk

_FUNCTION = "function"


def function_entries(recipe: Recipe) -> tuple[FileEntry, ...] | None:
    """The function package's files, paths relative to /var/task; None where the recipe has none.

    Also checks every other local file that the recipe names. Raises RecipeError with all mistakes:
    files that are absent, events that Lambda refuses, passes that their files do not name, and a
    handler that is not in the function's folder.
    """
    mistakes = [*_absent(recipe), *_bad_events(recipe), *_bad_passes(recipe), *_bad_assets(recipe)]
    entries: list[FileEntry] = []
    root = recipe.folder / recipe.function.source if recipe.function else None
    if recipe.function and root and root.exists():
        try:
            found = function_files(recipe)
            if not root.is_dir():
                mistakes.append(
                    RecipeError(
                        f"{recipe.path}: function.source: {root} is not a folder",
                        "Name the folder with the function's code, relative to the recipe.",
                    )
                )
            mistakes += folder_mistakes(recipe, "function.source", root, found)
            entries = [_entry(root, path) for path in found.files]
            if root.is_dir():
                handler = recipe.function.handler
                mistakes += _bad_handler(recipe, handler, root, entries, found.left_out)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}"
            mistakes.append(RecipeError(f"{recipe.path}: function.source: {problem}"))
    if mistakes:
        raise together(recipe.path, mistakes)
    return tuple(entries) if recipe.function else None


def _absent(recipe: Recipe) -> Iterator[RecipeError]:
    for key, value in _named_files(recipe):
        try:
            need_file(recipe.folder / value)
        except MistakeError as error:
            yield RecipeError(f"{recipe.path}: {key}: {error}", error.hint)


def _bad_events(recipe: Recipe) -> Iterator[RecipeError]:
    for workload in recipe.workloads:
        file = recipe.folder / workload.event
        if not file.exists():
            continue
        try:
            problem = event_problem(file.read_bytes())
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        if problem:
            yield RecipeError(
                f"{recipe.path}: workloads.{workload.name}.event: {file} {problem}",
                "An event is one JSON value of up to 6 MB. Pass larger data through S3.",
            )


def _bad_passes(recipe: Recipe) -> Iterator[RecipeError]:
    """Passes that their files do not name; nothing of a recipe runs before its build does."""
    for text in recipe.passes:
        path, name = recipe.folder / text.rpartition(":")[0], text.rpartition(":")[2]
        if path.is_file() and not _names(path, name):
            yield RecipeError(f"{recipe.path}: passes: {path} has no class '{name}'")


def _named_files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Keys that name local files, and these files."""
    for workload in recipe.workloads:
        yield f"workloads.{workload.name}.event", workload.event
    if recipe.function is not None:
        yield "function.source", recipe.function.source
    for text in recipe.passes:
        yield "passes", text.rpartition(":")[0]
    for link in recipe.resolve.find_links:
        if "://" not in link:
            yield "resolve.find-links", link
    for asset in recipe.assets:
        for key, value in (("file", asset.file), ("prepare", asset.prepare)):
            if value is not None:
                yield f"assets.{asset.name}.{key}", value
    for soname, source in recipe.library_sources.items():
        if "==" not in source:
            yield f"system-libraries.{soname}", source


def _bad_assets(recipe: Recipe) -> Iterator[RecipeError]:
    """A folder of the recipe may not bring secrets, nor what lies elsewhere on this machine."""
    for asset in recipe.assets:
        folder = recipe.folder / (asset.file or "")
        if asset.file is None or not folder.is_dir():
            continue
        key = f"assets.{asset.name}"
        if asset.prepare is None:
            try:
                found = asset_files(recipe, asset)
            except OSError as error:
                problem = f"{error.filename}: {error.strerror}"
                yield RecipeError(f"{recipe.path}: {key}.file: {problem}")
            else:
                yield from folder_mistakes(recipe, f"{key}.file", folder, found)
            continue
        # A script takes of it what it wants.
        for file in (folder / path for path in sorted_walk(folder)):
            if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(recipe.root):
                yield RecipeError(
                    f"{recipe.path}: {key}.file: {file} is a link to {file.readlink()}, out of the "
                    f"project {recipe.root}",
                    "Put a copy there, or remove the link.",
                )


def _entry(root: Path, path: Path) -> FileEntry:
    file = root / path
    executable = bool(file.stat().st_mode & 0o100)
    return FileEntry.of(file, path.as_posix(), _FUNCTION, executable=executable)


def _bad_handler(
    recipe: Recipe,
    handler: str,
    root: Path,
    entries: list[FileEntry],
    left_out: Iterable[Refusal],
) -> Iterator[RecipeError]:
    """The handler's module must be in the package and name the function."""
    module, _, function = handler.rpartition(".")
    path = module.replace(".", "/")
    where = f"{recipe.path}: function.handler: '{handler}'"
    modules = (f"{path}.py", f"{path}/__init__.py")
    entry = next((e for e in entries if e.path in modules), None)
    ignored = next((o for o in left_out if any(_is_in(m, o.path) for m in modules)), None)
    if entry is not None:
        if not _names(entry.source, function):
            defined = re.findall(r"def (\w+)\(", entry.source.read_text("utf-8", "replace"))
            near = difflib.get_close_matches(function, defined, 1, 0.5)
            hint = f"Did you mean '{module}.{near[0]}'?" if near else ""
            yield RecipeError(f"{where}: {entry.source} names no '{function}'", hint)
    elif ignored is not None:
        yield RecipeError(
            f"{where} needs {path}.py in {root}, but {ignored.path} is left out: {ignored.reason}",
            "Name it in function.include.",
        )
    else:
        there = [e.path.removesuffix(".py") for e in entries if e.path.endswith(".py")]
        near = [one for one in there if one.rpartition("/")[2] == path.rpartition("/")[2]]
        near += difflib.get_close_matches(path, there, n=1)
        yield RecipeError(
            f"{where} needs {path}.py in {root}, the function.source, which is not there",
            f"Did you mean '{near[0].replace('/', '.')}.{function}'?" if near else "",
        )


def _names(file: Path, name: str) -> bool:
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


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
        # The hashes of the files cover these two keys.
        recipe.model_dump(mode="json", by_alias=True, exclude={"function": {"include", "exclude"}}),
        lock.sha256,
        compressor,
        interpreter,
        image,
        _variables(recipe, image),
        [(path, digest) for path, digest in _local_files(recipe)],
    )


def _variables(recipe: Recipe, image: str) -> dict[str, str]:
    """This machine's settings that the build's bytes depend on."""
    # None count in an image; prepare scripts run on this machine in any case.
    compiles = recipe.build.from_source and not image
    computes = compiles or any(asset.prepare for asset in recipe.assets)
    return {
        **(compiler_variables() if compiles else {}),
        **(processor_variables() if computes else {}),
    }


def _local_files(recipe: Recipe) -> list[tuple[str, str]]:
    names: list[str] = []
    for asset in recipe.assets:
        if asset.file:
            is_folder = (recipe.folder / asset.file).is_dir()
            ships = None
            if is_folder and not asset.prepare:
                ships = asset_files(recipe, asset, secrets=False).files
            names += [asset.file] if ships is None else [f"{asset.file}/{one}" for one in ships]
        if asset.prepare:
            # A script may import its neighbours. Data beside it does not count (nor, then, does a
            # build folder there): what a script reads is the asset's source.
            home = Path(asset.prepare).parent
            names += [(home / path).as_posix() for path in python_files(recipe.folder / home)]
    names += [text.rpartition(":")[0] for text in recipe.passes]
    names += [source for source in recipe.library_sources.values() if "==" not in source]
    names += [workload.event for workload in recipe.workloads]
    if recipe.recording_path.is_file():
        names.append(recipe.recording_path.name)
    files: list[Path] = []
    if recipe.function is not None:
        source = recipe.folder / recipe.function.source
        files += [source / path for path in function_files(recipe).files]
    found: dict[str, str] = {}
    for name in names:
        path = recipe.folder / name
        files += [path / one for one in sorted_walk(path)] if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            # Not from the project's root: a copy without .git gives the same key.
            relative = Path(os.path.relpath(file, recipe.folder)).as_posix()
            executable = "x" if file.stat().st_mode & 0o100 else ""
            found[relative] = sha256_file(file) + executable
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
