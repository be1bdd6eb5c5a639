"""Which files a Python module names, reads or lists, by their names and endings."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from layerpack.passes.code import called, walk

#: What reads or lists files, by the last name of the call; and what only looks for them.
_READERS = frozenset(
    {
        *("open", "read", "read_text", "read_bytes", "get_data", "load"),
        *("listdir", "scandir", "walk", "glob", "iglob", "rglob", "iterdir"),
        *("files", "open_text", "open_binary", "read_resource", "resource_string"),
    }
)
_FINDERS = frozenset({"exists", "is_file", "isfile"})
_FILE_NAME = re.compile(r"[\w.+-]+\.\w+")
_INCLUDE = re.compile(r"""#\s*include\s*[<"][^>"\n]*[>"]?""")
_COMPILERS = frozenset({"gcc", "g++", "cc", "c++", "clang", "clang++", "nvcc", "hipcc"})
_INCLUDE_OPTION = re.compile(r"""(^|[\s=])-I($|[\s/{$.%"'])""")
_LONGEST = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReads:
    """What one module says.

    `named`: file names in its strings; `kinds`: bare suffixes (`.h`, `*.pyx`) where it reads, lists
    or looks for files, one set for each function and for the rest. `read` and `listed` are those of
    files that it reads itself: not what it only looks for, includes in source text that it writes,
    or hands to a compiler.
    """

    named: frozenset[str]
    read: frozenset[str]
    kinds: tuple[frozenset[str], ...]
    listed: tuple[frozenset[str], ...]


def file_reads(tree: ast.Module, suffixes: Collection[str]) -> FileReads:
    """What a module says of files; `suffixes` are the endings that matter."""
    nodes = list(walk(tree))
    texts = list(_texts(nodes))
    named = frozenset(name for text in texts for name in _FILE_NAME.findall(text))
    calls = {called(node) for node in nodes if isinstance(node, ast.Call)}
    scopes = list(_scopes(nodes)) if not calls.isdisjoint(_READERS | _FINDERS) else []
    drives = any(text in _COMPILERS or _INCLUDE_OPTION.search(text) for text in texts)
    reads = not drives and not calls.isdisjoint(_READERS)
    own = [_INCLUDE.sub(" ", text) for text in texts] if reads else []
    return FileReads(
        named=named,
        read=frozenset(name for text in own for name in _FILE_NAME.findall(text)),
        kinds=tuple(_kinds(scopes, _READERS | _FINDERS, suffixes)),
        listed=tuple(_kinds(scopes, _READERS, suffixes)) if reads else (),
    )


def _texts(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant):
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if isinstance(text, str) and len(text) < _LONGEST:
                yield text


def _scopes(nodes: list[ast.AST]) -> Iterator[list[ast.AST]]:
    """The nodes of each function, and those outside of all."""
    inner: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = list(walk(node))
            inner.update(map(id, body))
            yield body
    yield [node for node in nodes if id(node) not in inner]


def _kinds(
    scopes: list[list[ast.AST]], readers: frozenset[str], suffixes: Collection[str]
) -> Iterator[frozenset[str]]:
    for nodes in scopes:
        if any(isinstance(node, ast.Call) and called(node) in readers for node in nodes):
            texts = (node.value for node in nodes if isinstance(node, ast.Constant))
            found = {_bare_suffix(text) for text in texts if isinstance(text, str)}
            yield frozenset(found.intersection(suffixes))


def _bare_suffix(text: str) -> str:
    """The suffix of `*.h`, `**/*.h` or `.h`; a name before the dot would be one file's."""
    return text[text.rfind(".") :] if "." in text and not re.search(r"\w\.\w+$", text) else ""
