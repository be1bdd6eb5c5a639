"""Payloads of several distributions, and contexts to plan passes in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from layerpack.passes.api import Add, Edit, Keep, PassContext, Remove, Rewrite
from layerpack.payload import FileEntry, Payload
from tests.support.recipes import load

#: Distribution -> path below site-packages -> content.
Tree = Mapping[str, Mapping[str, str | bytes | Path]]


def payload_of(folder: Path, tree: Tree, prefix: str = "python/") -> Payload:
    """A payload of files written below `folder`; a Path is a file that exists already."""
    entries = []
    for distribution, files in tree.items():
        for path, content in files.items():
            file = folder / prefix / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                file.write_bytes(content.read_bytes())
            else:
                file.write_bytes(content.encode() if isinstance(content, str) else content)
            entries.append(FileEntry.of(file, f"{prefix}{path}", distribution))
    return Payload(entries)


def context_in(
    folder: Path,
    strip: str = "",
    *,
    room: int = 10**9,
    interpreter: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **recipe: object,
) -> PassContext:
    """A context for a minimal recipe with `strip: {...}`; its cache is below `folder`."""
    more = f"strip: {{{strip}}}\n" if strip else ""
    loaded = load(folder / "recipe", more=more + str(recipe.pop("more", "")), **recipe)
    return PassContext(
        recipe=loaded,
        profile=loaded.profile,
        cache=folder / "cache",
        room=room,
        interpreter=interpreter,
        progress=progress,
    )


def removed(edits: Iterable[Edit]) -> set[str]:
    """The removed paths, below site-packages."""
    return {_short(edit.path) for edit in edits if isinstance(edit, Remove)}


def kept(edits: Iterable[Edit]) -> dict[str, str]:
    """Path below site-packages -> why it stays."""
    return {_short(edit.path): edit.reason for edit in edits if isinstance(edit, Keep)}


def rewritten(edits: Iterable[Edit]) -> dict[str, Path]:
    """Path below site-packages -> the file with the new bytes."""
    return {_short(edit.path): edit.source for edit in edits if isinstance(edit, Rewrite)}


def added(edits: Iterable[Edit]) -> dict[str, FileEntry]:
    """Path below site-packages -> the new entry."""
    return {_short(edit.path): edit.entry for edit in edits if isinstance(edit, Add)}


def _short(path: str) -> str:
    return path.removeprefix("python/")
