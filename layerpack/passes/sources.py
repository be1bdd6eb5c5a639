"""Leave out what only compilers and type checkers read: stubs, headers, sources, static libraries.

Some packages read such files at run time: lazy_loader reads `__init__.pyi`, f2py its C templates,
cffi and triton their headers. So a file stays where the code of its distribution names it, or
lists or reads files of its kind. Code that drives a compiler does not count: Lambda has none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack.passes import folders
from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.code import called, is_build_script, parse, walk
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe

_KINDS = {
    ".pyi": "type stub",
    ".h": "header",
    ".hh": "header",
    ".hpp": "header",
    ".cuh": "header",
    ".c": "source of a compiled module",
    ".cc": "source of a compiled module",
    ".cpp": "source of a compiled module",
    ".cu": "source of a compiled module",
    ".pyx": "source of a compiled module",
    ".pxd": "source of a compiled module",
    ".pxi": "source of a compiled module",
    ".f": "source of a compiled module",
    ".f90": "source of a compiled module",
    ".a": "static library",
    ".la": "static library",
    ".lib": "static library",
}
#: What reads or lists files, by the last name of the call.
_READERS = frozenset(
    {
        *("open", "read", "read_text", "read_bytes", "get_data", "load"),
        *("listdir", "scandir", "walk", "glob", "iglob", "rglob", "iterdir"),
        *("exists", "is_file", "isfile"),
        *("files", "open_text", "open_binary", "read_resource", "resource_string"),
    }
)
_QUOTED_SUFFIX = re.compile(
    rb"""\.(?:%s)["']""" % b"|".join(suffix[1:].encode() for suffix in _KINDS)
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
        for entry in payload:
            parts = folders.parts_in_site(payload, entry)
            if parts is None:
                continue
            if _suffix(entry) in _KINDS:
                found.setdefault(entry.distribution, []).append(entry)
            elif parts[-1] == "py.typed":
                yield Remove(path=entry.path, reason="marker for type checkers")
            elif entry.path.endswith(".py"):
                python.setdefault(entry.distribution, []).append(entry)
        for distribution, entries in sorted(found.items()):
            yield from _plan(payload, entries, python.get(distribution, []))


def _suffix(entry: FileEntry) -> str:
    name = entry.path.rpartition("/")[2]
    return name[name.rfind(".") :] if "." in name else ""


def _plan(payload: Payload, entries: list[FileEntry], python: list[FileEntry]) -> Iterator[Edit]:
    kept: dict[str, str] = {}
    for source in python:
        data = source.source.read_bytes()
        if _QUOTED_SUFFIX.search(data) or b"attach_stub" in data:
            _keep_read(payload, source, data, entries, kept)
    _keep_included(entries, kept)
    for entry in entries:
        kind = _KINDS[_suffix(entry)]
        if entry.path in kept:
            yield Keep(path=entry.path, reason=f"{kind}, but {kept[entry.path]}")
        else:
            yield Remove(path=entry.path, reason=kind)


def _keep_read(
    payload: Payload,
    source: FileEntry,
    data: bytes,
    entries: list[FileEntry],
    kept: dict[str, str],
) -> None:
    """Note in `kept` which of `entries` one Python file reads."""
    tree = parse(data)
    if tree is None:
        return
    shown = payload.in_site(source.path) or source.path
    if b"attach_stub" in data:
        # https://github.com/scientific-python/lazy-loader: the stub is where imports are listed.
        kept.setdefault(source.path + "i", f"{shown} loads it lazily")
    if is_build_script(source, data):
        return
    names = _named(tree)
    suffixes = tuple(sorted(_read_suffixes(tree)))
    package = _package(payload, source)
    for entry in entries:
        if entry.path.rpartition("/")[2] in names:
            kept.setdefault(entry.path, f"{shown} names it")
        elif entry.path.endswith(suffixes) and _package(payload, entry) == package:
            kept.setdefault(entry.path, f"{shown} reads files of its kind")


def _named(tree: ast.Module) -> set[str]:
    """File names with one of the suffixes, in any string constant but docstrings."""
    names = set()
    for node in walk(tree):
        if isinstance(node, ast.Constant):
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if isinstance(text, str) and len(text) < 4096:
                names.update(re.findall(r"[\w.+-]+\.\w+", text))
    return names


def _read_suffixes(tree: ast.Module) -> set[str]:
    """Bare suffixes (`.h`, `*.pyx`) in functions, or at module level, that read or list files."""
    found: set[str] = set()
    everything = list(walk(tree))
    scopes = [n for n in everything if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    bodies = [list(walk(scope)) for scope in scopes]
    inner = {id(node) for body in bodies for node in body}
    for nodes in (*bodies, [node for node in everything if id(node) not in inner]):
        if any(isinstance(node, ast.Call) and called(node) in _READERS for node in nodes):
            for node in nodes:
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    suffix = node.value[node.value.rfind(".") :] if "." in node.value else ""
                    # `*.h`, `**/*.h`, `.h`: a name before the dot would be one file's.
                    if suffix in _KINDS and not re.search(r"\w\.\w+$", node.value):
                        found.add(suffix)
    return found


def _package(payload: Payload, entry: FileEntry) -> str:
    return (payload.in_site(entry.path) or entry.path).partition("/")[0]


def _keep_included(entries: list[FileEntry], kept: dict[str, str]) -> None:
    """Keep what kept files include, transitively: `#include "helpers.h"`."""
    queue = [entry for entry in entries if entry.path in kept]
    by_name: dict[str, list[FileEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.path.rpartition("/")[2], []).append(entry)
    while queue:
        entry = queue.pop()
        includes = re.findall(rb"""\binclude\s*["<']([^">'\n]+)[">']""", entry.source.read_bytes())
        for name in includes:
            for other in by_name.get(name.decode("latin-1").rpartition("/")[2], []):
                if other.path not in kept:
                    kept[other.path] = f"{entry.path.rpartition('/')[2]} includes it"
                    queue.append(other)
