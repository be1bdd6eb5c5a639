"""Leave out what only compilers and type checkers read: stubs, headers, sources, static libraries.

Some packages read such files at run time: lazy_loader reads `__init__.pyi`, f2py its C templates,
users of cffi their headers. So a file stays where the code of its distribution names it, or
lists or reads files of its kind. Code that drives a compiler does not count: Lambda has none.

A folder of headers (`include/`) is there to be given to a compiler. Of its files only those stay
that code reads itself: code also names headers in source text that it writes, looks whether the
folder is the right one, or goes through the sources of a project.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack.passes import folders
from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.code import is_build_script, parse
from layerpack.passes.file_reads import FileReads, file_reads
from layerpack.passes.includes import Includes, header_folders, is_below
from layerpack.payload import COMPILED, SOURCE_KINDS, FileEntry, Payload
from layerpack.recipe import Recipe

#: Of what else a folder of headers holds: X macros, tables that TableGen and protoc read, templates
#: of C++; and headers without an ending (`Eigen/Core`).
_HEADER_SUFFIXES = frozenset(
    {"", ".inc", ".def", ".td", ".inl", ".ipp", ".tcc", ".tpp", ".hxx", ".proto"}
)
_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)
_QUOTED_SUFFIX = re.compile(
    rb"""\.(?:%s)["']""" % b"|".join(suffix[1:].encode() for suffix in SOURCE_KINDS)
)


class Sources:
    """`.pyi`, headers, C, C++, Fortran and Cython sources, static libraries, `py.typed`."""

    name: ClassVar[str] = "sources"
    summary: ClassVar[str] = "type stubs, headers and sources of compiled modules"
    # What tests and documentation read goes with them; Cython sources tell what the compiled
    # module imports, which the passes before ask for.
    after: ClassVar[frozenset[str]] = frozenset({"tests", "docs", "spacy-languages"})

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.sources: false` turns it off."""
        return recipe.strip.sources

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove them; keep, with a reason, what the code of the same distribution reads."""
        found: dict[str, list[FileEntry]] = {}
        python: dict[str, list[FileEntry]] = {}
        candidates = [
            (entry, parts)
            for entry in payload
            if (parts := folders.parts_in_site(payload, entry)) is not None
        ]
        headers = header_folders(entry.path for entry, _ in candidates)
        for entry, parts in candidates:
            if _kind(entry, headers):
                found.setdefault(entry.distribution, []).append(entry)
            elif parts[-1] == "py.typed":
                yield Remove(path=entry.path, reason="marker for type checkers")
            elif entry.path.endswith(".py"):
                python.setdefault(entry.distribution, []).append(entry)
        for distribution, entries in sorted(found.items()):
            yield from _plan(payload, entries, python.get(distribution, []), headers)


def _kind(entry: FileEntry, headers: frozenset[str]) -> str:
    """What it is that only compilers and type checkers read; empty for other files."""
    suffix = _suffix(entry)
    if suffix in SOURCE_KINDS:
        return SOURCE_KINDS[suffix]
    if suffix in _HEADER_SUFFIXES and is_below(entry.path, headers):
        return "" if _LICENCE.match(entry.path.rpartition("/")[2]) else "header"
    return ""


def _suffix(entry: FileEntry) -> str:
    name = entry.path.rpartition("/")[2]
    return name[name.rfind(".") :] if "." in name else ""


def _plan(
    payload: Payload,
    entries: list[FileEntry],
    python: list[FileEntry],
    headers: frozenset[str],
) -> Iterator[Edit]:
    search = _Search(payload, entries, headers)
    for source in python:
        data = source.source.read_bytes()
        if _QUOTED_SUFFIX.search(data) or b"attach_stub" in data:
            search.follow(source, data)
    search.keep_included()
    for entry in entries:
        kind = _kind(entry, headers)
        if entry.path in search.kept:
            yield Keep(path=entry.path, reason=f"{kind}, but {search.kept[entry.path]}")
        else:
            yield Remove(path=entry.path, reason=kind)


class _Search:
    """Which of a distribution's `entries` its code reads; `headers` are folders of headers."""

    def __init__(self, payload: Payload, entries: list[FileEntry], headers: frozenset[str]) -> None:
        self._payload = payload
        self._entries = entries
        self._in_folder = {entry.path for entry in entries if is_below(entry.path, headers)}
        self._by_name: dict[str, list[FileEntry]] = defaultdict(list)
        self._by_kind: dict[tuple[str, str], list[FileEntry]] = defaultdict(list)
        for entry in entries:
            self._by_name[entry.path.rpartition("/")[2]].append(entry)
            self._by_kind[_package(payload, entry), _suffix(entry)].append(entry)
        #: Path -> why it stays.
        self.kept: dict[str, str] = {}

    def follow(self, source: FileEntry, data: bytes) -> None:
        """Keep what one Python file reads."""
        tree = parse(data)
        if tree is None:
            return
        shown = self._payload.in_site(source.path) or source.path
        if b"attach_stub" in data:
            # The stub is where imports are listed (https://github.com/scientific-python/lazy-loader).
            self.kept.setdefault(source.path + "i", f"{shown} loads it lazily")
        if is_build_script(source, data):
            return
        said = file_reads(tree, SOURCE_KINDS.keys())
        package = _package(self._payload, source)
        for name in said.named & self._by_name.keys():
            for entry in self._by_name[name]:
                if entry.path not in self._in_folder:
                    self.kept.setdefault(entry.path, f"{shown} names it")
                elif name in said.read and _package(self._payload, entry) == package:
                    self.kept.setdefault(entry.path, f"{shown} reads it")
        for suffix in frozenset().union(*said.kinds):
            for entry in self._by_kind.get((package, suffix), ()):
                if entry.path not in self._in_folder or _lists_headers(said, suffix):
                    self.kept.setdefault(entry.path, f"{shown} reads files of its kind")

    def keep_included(self) -> None:
        """Keep what kept files include, transitively."""
        queue = [entry for entry in self._entries if entry.path in self.kept]
        includes = Includes(self._entries) if queue else None
        while queue and includes:
            entry = queue.pop()
            # Whoever reads a header without a compiler has no other folders to look in.
            for other in includes.of(entry, beside=entry.path in self._in_folder):
                if other.path not in self.kept and not self._is_foreign(entry, other):
                    self.kept[other.path] = f"{entry.path.rpartition('/')[2]} includes it"
                    queue.append(other)

    def _is_foreign(self, entry: FileEntry, other: FileEntry) -> bool:
        """Whether a header is in another package's folder, which only compilers are given."""
        package = _package(self._payload, entry)
        return other.path in self._in_folder and _package(self._payload, other) != package


def _lists_headers(said: FileReads, suffix: str) -> bool:
    """Whether a module lists headers by their suffix, and not among the sources of a project."""
    return any(
        suffix in kinds and all(SOURCE_KINDS[one] != COMPILED for one in kinds)
        for kinds in said.listed
    )


def _package(payload: Payload, entry: FileEntry) -> str:
    return (payload.in_site(entry.path) or entry.path).partition("/")[0]
