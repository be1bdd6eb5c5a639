"""Removing whole folders of packages, as tests and documentation: shared by those passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.code import Code
from layerpack.passes.needs import Search, word_filter
from layerpack.payload import FileEntry, Payload


def parts_in_site(payload: Payload, entry: FileEntry) -> list[str] | None:
    """The pieces of a path below site-packages; None outside, and in `*.dist-info`."""
    inside = payload.in_site(entry.path)
    if inside is None:
        return None
    parts = inside.split("/")
    return None if is_metadata(parts[0]) else parts


def is_metadata(folder: str) -> bool:
    """Whether a top-level folder holds a distribution's metadata."""
    return folder.endswith((".dist-info", ".egg-info"))


def plan_removal(
    payload: Payload,
    context: PassContext,
    found: set[str],
    words: frozenset[str],
    *,
    reason: str,
) -> Iterator[Edit]:
    """Remove `found`, and keep what other code imports or names of it.

    `words` are the names by which code refers to it: the folders' names.
    """
    if not found:
        return
    # Only words that something is called by: `doc` alone would have half the stack parsed.
    words = words.intersection(
        part.removesuffix(".py") for path in found for part in path.split("/")
    )
    mentions = word_filter(sorted(words))
    search = Search(Code(payload), found, words)
    _entry_points(payload, search)
    _function(context, search, words)
    kept = search.run(lambda _, data: mentions(data))
    for path in sorted(found):
        if path in kept:
            yield Keep(path=path, reason=f"{reason}, but {kept[path]}")
        else:
            yield Remove(path=path, reason=reason)


def _entry_points(payload: Payload, search: Search) -> None:
    """Keep modules that a distribution's entry points name (`pytest11 = x.tests.plugin`)."""
    for entry in payload:
        if entry.path.endswith("-info/entry_points.txt"):
            for line in entry.source.read_text(encoding="utf-8", errors="replace").splitlines():
                _, _, target = line.partition("=")
                name = target.split("[")[0].partition(":")[0].strip()
                if name:
                    search.imported(name, "an entry point names it")


def _function(context: PassContext, search: Search, words: frozenset[str]) -> None:
    """Keep what the recipe's own function imports (`django.test` is not a test suite)."""
    for entry in context.function:
        if not entry.path.endswith(".py"):
            continue
        for name in _imports(entry):
            if words.intersection(name.split(".")):
                search.imported(name, "the function imports it")


def _imports(entry: FileEntry) -> frozenset[str]:
    placed = replace(entry, path="python/function.py")
    return Code(Payload([placed])).facts(placed).imports
