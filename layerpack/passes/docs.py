"""Leave out documentation, examples and benchmarks.

Folder names decide, and who imports them: `botocore.docs` is documentation by name and code by
use. Of other files only those go whose names say that people read them (README), and that no
code names. Licences are never touched here, nor `.html`, `.rst` and the like in general: many are
templates that a package renders.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack.passes import folders
from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.code import Code
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe

_FOLDERS = frozenset({"docs", "doc", "examples", "example", "benchmarks"})
_FOR_PEOPLE = re.compile(
    r"(README|CHANGE(S|LOG)|HISTORY|NEWS|CONTRIBUTING|CODE_OF_CONDUCT|SECURITY)"
    r"([._-]\w+)?(\.(md|rst|txt|markdown|adoc))?"
)
_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)


class Docs:
    """`docs/`, `examples/`, `benchmarks/` folders of packages, README files and change logs."""

    name: ClassVar[str] = "docs"
    summary: ClassVar[str] = "documentation, examples and benchmarks"
    after: ClassVar[frozenset[str]] = frozenset({"tests"})

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.docs: false` turns it off."""
        return recipe.strip.docs

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove what people read; keep, with a reason, what code imports or names."""
        in_folders: set[str] = set()
        single: list[FileEntry] = []
        for entry in payload:
            parts = folders.parts_in_site(payload, entry)
            if parts is None or _LICENCE.match(parts[-1]):
                continue
            if _FOLDERS.intersection(parts[:-1]):
                in_folders.add(entry.path)
            # In capitals and at the top, where projects put them: `data/news.txt` is data.
            elif len(parts) <= 2 and _FOR_PEOPLE.fullmatch(parts[-1]):
                single.append(entry)
        yield from folders.plan_removal(
            payload, context, in_folders, _FOLDERS, reason="documentation"
        )
        yield from _plan_single(Code(payload), single)


def _plan_single(code: Code, found: list[FileEntry]) -> Iterator[Edit]:
    readers = _readers(code, found)
    for entry in found:
        reader = readers.get((entry.distribution, _name(entry)))
        if reader is None:
            yield Remove(path=entry.path, reason="documentation")
        else:
            yield Keep(path=entry.path, reason=f"documentation, but {reader} names it")


def _readers(code: Code, found: list[FileEntry]) -> dict[tuple[str, str], str]:
    """(distribution, file name) -> the module of that distribution that says the name."""
    names: dict[str, set[str]] = defaultdict(set)
    for entry in found:
        names[entry.distribution].add(_name(entry))
    readers: dict[tuple[str, str], str] = {}
    for source in code.sources:
        wanted = names.get(source.distribution)
        if wanted:
            data = source.source.read_bytes()
            for name in wanted:
                if name.encode() in data:
                    shown = code.payload.in_site(source.path) or source.path
                    readers.setdefault((source.distribution, name), shown)
    return readers


def _name(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[2]
