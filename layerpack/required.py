"""What distributions require by their metadata, and names in a recipe that nothing requires."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from layerpack.lock import Lock
from layerpack.payload import Payload
from layerpack.recipe import Recipe

_REQUIRES = re.compile(r"^Requires-Dist:\s*(.+)$", re.MULTILINE)


def requirements(payload: Payload) -> dict[str, set[str]]:
    """What each distribution's METADATA requires, by normalised name, whatever the markers."""
    found: dict[str, set[str]] = {}
    for entry in payload:
        if entry.path.endswith(".dist-info/METADATA"):
            text = entry.source.read_text(encoding="utf-8", errors="replace")
            found.setdefault(entry.distribution, set()).update(_names(_REQUIRES.findall(text)))
    return found


def unused_names(recipe: Recipe, lock: Lock, payload: Payload) -> Iterator[str]:
    """A warning for each distribution that the recipe names and that has no part in the lock;
    `payload` is the plain install."""
    resolve = recipe.resolve
    locked = {pin.name for pin in lock.requirements}
    required = _names(recipe.requirements).union(*requirements(payload).values())
    for key, names, reason in (
        ("build.from-source", {*recipe.build.from_source} - locked, "is not in the lock"),
        (
            "resolve.override",
            _names(resolve.override) - locked - {*resolve.exclude},
            "is not in the lock",
        ),
        # What is excluded is never in the lock.
        ("resolve.exclude", {*resolve.exclude} - required, "no distribution requires"),
    ):
        for name in sorted(names):
            yield f"{key} names {name}, which {reason}"


def _names(requirements: Iterable[str]) -> set[str]:
    """The normalised names of requirements, without those that are invalid."""
    names = set()
    for text in requirements:
        with suppress(InvalidRequirement):
            names.add(str(canonicalize_name(Requirement(text).name)))
    return names
