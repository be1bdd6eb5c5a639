"""Source fixes that pinned releases need: each must apply, or the build fails."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from layerpack.errors import RecipeError
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Patch, Recipe
from layerpack.units import sha256_bytes, write_bytes


def apply_patches(payload: Payload, recipe: Recipe, cache: Path) -> tuple[Payload, list[str]]:
    """The payload with every patch of the recipe applied in order, and a line on each.

    Patched files are kept in the folder `cache` by content. Raises RecipeError, naming the patch,
    where one finds no distribution, no file, nothing to replace, or another number than `count`.
    """
    notes = []
    for number, patch in enumerate(recipe.patches):
        where = f"{recipe.path}: patches[{number}] ({patch.package})"
        changed, made = _apply(payload, patch, where, cache)
        payload = payload.updated(add=changed)
        notes.append(
            f"{patch.package}: {made} replacements of '{patch.replace.pattern}' "
            f"in {len(changed)} files"
        )
    return payload, notes


def _apply(payload: Payload, patch: Patch, where: str, cache: Path) -> tuple[list[FileEntry], int]:
    own = [entry for entry in payload if entry.distribution == patch.package]
    if not own:
        known = ", ".join(sorted({entry.distribution for entry in payload}))
        raise RecipeError(f"{where}: no such distribution in the lock", f"There are: {known}")
    chosen = [
        entry
        for entry in own
        if any(matches(payload.in_site(entry.path), pattern) for pattern in patch.files)
    ]
    if not chosen:
        raise RecipeError(f"{where}: none of its files matches {', '.join(patch.files)}")
    expression = re.compile(patch.replace.pattern, re.MULTILINE)
    changed = []
    total = 0
    for entry in chosen:
        text = entry.source.read_bytes().decode("utf-8", "surrogateescape")
        try:
            new, made = expression.subn(patch.replace.with_, text)
        except (re.error, IndexError) as error:
            raise RecipeError(
                f"{where}: '{patch.replace.with_}' cannot be put in: {error}"
            ) from None
        if made:
            total += made
            changed.append(entry.with_content(_keep(new, cache)))
    if total == 0 or (patch.replace.count is not None and total != patch.replace.count):
        expected = patch.replace.count or "at least one"
        raise RecipeError(
            f"{where}: does not apply: '{patch.replace.pattern}' stands {total} times in "
            f"{len(chosen)} files, expected {expected}",
            "Has the locked version changed? Mend or remove the patch.",
        )
    return changed, total


def matches(path: str | None, pattern: str) -> bool:
    """Whether a path matches a glob pattern; `**/` stands for any folders, or none."""
    if path is None:
        return False
    if fnmatch.fnmatchcase(path, pattern):
        return True
    return pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern[3:])


def _keep(text: str, cache: Path) -> Path:
    data = text.encode("utf-8", "surrogateescape")
    file = cache / sha256_bytes(data)
    if not file.exists():
        write_bytes(file, data)
    return file
