"""Folders of headers, and the files that an include directive means.

A compiler looks for `#include "a/b.h"` beside the file that says so, then in the folders that it is
given (C17, 6.10.2): here those called `include`, and, as they may be given too, all above the file,
and any that has `a/` in it. A name without a folder means nothing in other folders: there are
hundreds of `utils.h`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

from layerpack.payload import FileEntry

_DIRECTIVE = re.compile(rb"""\binclude\s*["<']([^">'\n]+)[">']""")
_C_HEADERS = (".h", ".hh", ".hpp", ".hxx", ".cuh")


def header_folders(paths: Iterable[str]) -> frozenset[str]:
    """Folders called `include` that hold headers of C or C++ (others have parts of templates)."""
    return frozenset(
        path[: path.rindex("/include/") + len("/include")]
        for path in paths
        if path.endswith(_C_HEADERS) and "/include/" in path
    )


def is_below(path: str, folders: frozenset[str]) -> bool:
    """Whether a path lies in one of the folders, at any depth."""
    end = path.rfind("/")
    while end > 0:
        if path[:end] in folders:
            return True
        end = path.rfind("/", 0, end)
    return False


class Includes:
    """The files that include directives may mean."""

    def __init__(self, entries: Iterable[FileEntry]) -> None:
        self._entries = {entry.path: entry for entry in entries}
        self._roots = sorted(header_folders(self._entries))
        self._by_name: dict[str, list[str]] = {}
        for path in self._entries:
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)

    def of(self, entry: FileEntry, *, beside: bool = False) -> Iterator[FileEntry]:
        """What a file includes; with `beside` only by the path from its own folder."""
        for name in set(_DIRECTIVE.findall(entry.source.read_bytes())):
            for path in self._meant(entry.path, name.decode("latin-1"), beside):
                yield self._entries[path]

    def _meant(self, includer: str, name: str, beside: bool) -> list[str]:
        folder = posixpath.dirname(includer)
        while folder:
            path = posixpath.normpath(posixpath.join(folder, name))
            if path in self._entries:
                return [path]
            folder = "" if beside else posixpath.dirname(folder)
        if beside:
            return []
        name = posixpath.normpath(name)
        found = [path for root in self._roots if (path := f"{root}/{name}") in self._entries]
        if not found and "/" in name:
            ending = f"/{name}"
            same = self._by_name.get(name.rpartition("/")[2], ())
            found = [path for path in same if path.endswith(ending)]
        return found
