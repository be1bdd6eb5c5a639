"""Source fixes that pinned releases need: each must apply, or the build fails."""

from __future__ import annotations

import difflib
import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from layerpack.errors import RecipeError
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Patch
from layerpack.units import keep_by_content


@dataclass(frozen=True, kw_only=True, slots=True)
class Patched:
    """A file before and after a patch, the pattern, and how often it was replaced."""

    before: FileEntry
    after: FileEntry
    pattern: str
    replacements: int


def apply_patches(
    payload: Payload, recipe: Recipe, cache: Path
) -> tuple[Payload, tuple[Patched, ...]]:
    """The payload with every patch of the recipe applied in order, and a record of each file.

    Patched files are kept in the folder `cache` by content. Raises RecipeError, naming the patch,
    where one finds no distribution, no file, nothing to replace, or another number than `count`.
    """
    patched: list[Patched] = []
    for number, patch in enumerate(recipe.patches):
        where = f"{recipe.path}: patches[{number}] ({patch.package})"
        changed = _apply(payload, patch, where, cache)
        patched += changed
        payload = payload.updated(add=[one.after for one in changed])
    return payload, tuple(patched)


def _apply(payload: Payload, patch: Patch, where: str, cache: Path) -> list[Patched]:
    own = [entry for entry in payload if entry.distribution == patch.package]
    if not own:
        known = sorted({entry.distribution for entry in payload})
        near = difflib.get_close_matches(patch.package, known, n=1)
        raise RecipeError(
            f"{where}: no such distribution in the lock",
            f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}",
        )
    chosen = [
        entry
        for entry in own
        if any(matches(payload.in_site(entry.path), pattern) for pattern in patch.files)
    ]
    if not chosen:
        raise RecipeError(f"{where}: none of its files matches {', '.join(patch.files)}")
    expression = re.compile(patch.replace.pattern, re.MULTILINE)
    changed: list[Patched] = []
    for entry in chosen:
        text = entry.source.read_bytes().decode("utf-8", "surrogateescape")
        try:
            new, made = expression.subn(patch.replace.with_, text)
        except (re.error, IndexError) as error:
            raise RecipeError(
                f"{where}: '{patch.replace.with_}' cannot be put in: {error}"
            ) from None
        if made:
            file = keep_by_content(cache, new.encode("utf-8", "surrogateescape"))
            changed.append(
                Patched(
                    before=entry,
                    after=entry.with_content(file),
                    pattern=patch.replace.pattern,
                    replacements=made,
                )
            )
    total = sum(one.replacements for one in changed)
    if total == 0 or (patch.replace.count is not None and total != patch.replace.count):
        expected = patch.replace.count or "at least one"
        raise RecipeError(
            f"{where}: does not apply: '{patch.replace.pattern}' stands {total} times in "
            f"{len(chosen)} files, expected {expected}",
            "Has the locked version changed? Fix or remove the patch.",
        )
    return changed


def matches(path: str | None, pattern: str) -> bool:
    """Whether a path matches a glob pattern; `**/` stands for any folders, or none."""
    if path is None:
        return False
    if fnmatch.fnmatchcase(path, pattern):
        return True
    return pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern[3:])
