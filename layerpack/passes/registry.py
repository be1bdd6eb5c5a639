"""The passes: the built-in ones, a recipe's own, and the order to run them in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol, TypeVar

from layerpack.errors import RecipeError
from layerpack.passes.api import Pass
from layerpack.passes.bytecode import Bytecode
from layerpack.passes.compile import Compile
from layerpack.passes.docs import Docs
from layerpack.passes.duplicates import Duplicates
from layerpack.passes.metadata import Metadata
from layerpack.passes.mxnet_wrappers import MxnetWrappers
from layerpack.passes.paged import Paged
from layerpack.passes.programs import Programs
from layerpack.passes.runtime_provided import RuntimeProvided
from layerpack.passes.sources import Sources
from layerpack.passes.spacy_languages import SpacyLanguages
from layerpack.passes.symbols import Symbols
from layerpack.passes.tests import Tests
from layerpack.recipe import Recipe
from layerpack.units import key_of

#: Passes that remove no file, and change nothing about what a library needs; they take long.
_PACKING: Final = frozenset({"symbols", "paged", "mxnet-wrappers", "compile"})
#: Passes that run after a recipe's own. A library is packed as it will ship, and bytecode fills the
#: room that all others leave; what saves compiling at every start comes before, and only where
#: bytecode that does stays.
_LAST: Final = _PACKING - {"symbols"}


def built_in() -> tuple[Pass, ...]:
    """The passes that come with layerpack, in the order that they run in."""
    return ordered(_table())


def passes_for(recipe: Recipe) -> tuple[Pass, ...]:
    """The passes that a recipe wants, its own among them, in the order to run them in.

    Raises RecipeError for a pass of the recipe's own that cannot be loaded or placed.
    """
    own = [_load(recipe, text) for text in recipe.passes]
    every = ordered(with_own(_table(), own))
    return tuple(item for item in every if item.wanted(recipe))


def packing(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """The packing ones of `passes` that come after the last one that may remove files."""
    others = [number for number, item in enumerate(passes) if item.name not in _PACKING]
    return tuple(passes[others[-1] + 1 if others else 0 :])


def _table() -> list[Pass]:
    return [
        Bytecode(),
        RuntimeProvided(),
        Tests(),
        Docs(),
        SpacyLanguages(),
        Programs(),
        Sources(),
        Metadata(),
        Duplicates(),
        Symbols(),
        Paged(),
        MxnetWrappers(),
        Compile(),
    ]


class _Placed(Protocol):
    """What has a place among passes: a name, and those of passes that come before it."""

    @property
    def name(self) -> str: ...
    @property
    def after(self) -> frozenset[str]: ...


_P = TypeVar("_P", bound=_Placed)


def with_own(table: Sequence[_P], own: Sequence[_P]) -> list[_P]:
    """The built-in passes with the recipe's own in their place: before those that run last."""
    return [
        *(item for item in table if item.name not in _LAST),
        *own,
        *(item for item in table if item.name in _LAST),
    ]


def ordered(passes: Iterable[_P]) -> tuple[_P, ...]:
    """Sorted so that each comes after those it names; otherwise in the order given.

    Raises RecipeError where that cannot be.
    """
    waiting = list(passes)
    names = [item.name for item in waiting]
    for item in waiting:
        if names.count(item.name) > 1:
            raise RecipeError(f"two passes are named '{item.name}'", "Give yours another name.")
        unknown = sorted(item.after.difference(names))
        if unknown:
            raise RecipeError(
                f"pass '{item.name}' declares `after: {unknown[0]}`, but there is no pass with "
                "that name",
                f"There are {', '.join(names)}.",
            )
    done: list[_P] = []
    while waiting:
        ready = {item.name for item in done}
        following = next((item for item in waiting if item.after <= ready), None)
        if following is None:
            circle = ", ".join(item.name for item in waiting)
            raise RecipeError(f"passes want to run after one another: {circle}")
        waiting.remove(following)
        done.append(following)
    return tuple(done)


def own_pass_file(recipe: Recipe, text: str) -> Path:
    """The file of the pass `file.py:ClassName`. Raises RecipeError where it is not there."""
    path = recipe.folder / text.rpartition(":")[0]
    if not path.is_file():
        raise RecipeError(
            f"{recipe.path}: passes: {path} does not exist",
            "The path is relative to the recipe.",
        )
    return path


def _load(recipe: Recipe, text: str) -> Pass:
    """The recipe's own pass that `file.py:ClassName` names."""
    path, name = own_pass_file(recipe, text), text.rpartition(":")[2]
    kind = getattr(_module(recipe, path), name, None)
    if not isinstance(kind, type):
        raise RecipeError(f"{recipe.path}: passes: {path} has no class '{name}'")
    try:
        made = kind()
    except TypeError as error:
        raise RecipeError(
            f"{recipe.path}: passes: '{text}' cannot be made: {error}",
            "A pass is made without arguments.",
        ) from None
    if not isinstance(made, Pass):
        missing = [item for item in _INTERFACE if not hasattr(made, item)]
        raise RecipeError(
            f"{recipe.path}: passes: '{text}' is not a pass: it lacks {', '.join(missing)}",
            "layerpack/passes/api.py has the interface.",
        )
    return made


_INTERFACE = ("name", "summary", "after", "wanted", "plan")


def _module(recipe: Recipe, path: Path) -> ModuleType:
    module_name = f"layerpack_recipe_pass_{key_of(str(path.resolve()))[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{recipe.path}: passes: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise RecipeError(
            f"{recipe.path}: passes: {path} fails on import: {type(error).__name__}: {error}"
        ) from error
    return module
