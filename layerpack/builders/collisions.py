"""Files that several distributions bring under one path, with different content.

pip lets the distribution that is installed later overwrite the other's file, and says nothing.
Here the one whose name sorts last wins, whatever the order. A warning names the pair where that can
matter; the proof shows whether it does.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict

from layerpack.payload import FileEntry

# What a project has at its top for itself, and many wheels hold by mistake.
_PROJECT_FOLDERS = frozenset(
    {"tests", "test", "docs", "doc", "examples", "example", "benchmarks", "scripts"}
)
_PROJECT_FILES = re.compile(
    r"(setup|conftest|noxfile)\.py|(setup|tox)\.cfg|tox\.ini|pyproject\.toml|MANIFEST\.in|Makefile"
    r"|requirements[\w-]*\.txt"
    # In capitals, or with an ending: `readme.py` is a module.
    r"|[A-Z_]+(\.(md|rst|txt))?"
    r"|(?i:(licen[cs]e|copying|notice|authors|readme|change(s|log)|history)[\w-]*\.(md|rst|txt))"
)
# Console scripts, of which none is on Lambda's PATH, and what only compilers and checkers read.
_UNUSED_FOLDERS = frozenset({"bin", "include"})


class Collisions:
    """Decides which file stays, and gathers notes and warnings."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        #: (loser, winner) -> paths.
        self._pairs: dict[tuple[str, str], list[str]] = defaultdict(list)

    def stays(self, one: FileEntry, other: FileEntry, path: str) -> FileEntry:
        """Which of two files with different content stays at `path`, below site-packages."""
        first, last = sorted((one, other), key=lambda entry: entry.distribution)
        if path.endswith(".py") and (same := _same_meaning(first, last)):
            return same
        if _is_harmless(path):
            self._notes.append(
                f"{first.distribution} and {last.distribution} both bring {path}: the layers hold "
                f"{last.distribution}'s"
            )
        else:
            self._pairs[first.distribution, last.distribution].append(path)
        return last

    @property
    def notes(self) -> tuple[str, ...]:
        """A line on each file that hardly matters."""
        return tuple(sorted(self._notes))

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line on each pair of distributions with files that may matter."""
        return tuple(_warning(*pair, sorted(paths)) for pair, paths in sorted(self._pairs.items()))


def _warning(loser: str, winner: str, paths: list[str]) -> str:
    shown = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
    files = f"{len(paths)} files" if len(paths) > 1 else "one file"
    return (
        f"{loser} and {winner} both bring {files} with different content ({shown}); the layers "
        f"hold {winner}'s. If you need one of the two only, remove the other from requirements, or "
        "add it to resolve.exclude"
    )


def _is_harmless(path: str) -> bool:
    """Whether nothing imports a file: a project's own at the top of a wheel, or a build's."""
    top, _, rest = path.partition("/")
    if not rest:
        return _PROJECT_FILES.fullmatch(path) is not None
    return top in _PROJECT_FOLDERS | _UNUSED_FOLDERS or path.endswith((".pyi", "/py.typed"))


def _same_meaning(first: FileEntry, last: FileEntry) -> FileEntry | None:
    """One of two modules that do the same: they differ in white space or comments, or both declare
    a namespace package, of which there is one folder in the layers."""
    trees = [_parsed(entry) for entry in (first, last)]
    if trees[0] is None or trees[1] is None:
        return None
    if ast.dump(trees[0]) == ast.dump(trees[1]):
        return last
    if all(_is_declaration(tree.body) for tree in trees if tree):
        return max(first, last, key=lambda entry: (_usefulness(entry), entry.distribution))
    return None


def _usefulness(entry: FileEntry) -> int:
    """pkgutil is always there, setuptools' pkg_resources is not; an empty file declares nothing."""
    data = entry.source.read_bytes()
    return 2 if b"extend_path" in data else b"pkg_resources" not in data


def _parsed(entry: FileEntry) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(entry.source.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            return None


def _is_declaration(body: list[ast.stmt]) -> bool:
    """Whether statements do nothing but declare a namespace (packaging.python.org, "Packaging
    namespace packages"), or nothing at all."""
    return all(map(_declares, body))


def _declares(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=names):
            is_part = all(one.name in {"pkgutil", "pkg_resources"} for one in names)
        case ast.ImportFrom(module=module):
            is_part = module in {"pkgutil", "pkg_resources", "__future__"}
        case ast.Assign(targets=[ast.Name(id="__path__")], value=ast.Call(func=function)):
            is_part = ast.unparse(function).endswith("extend_path")
        case ast.Expr(value=ast.Call(func=function)):
            is_part = ast.unparse(function).endswith("declare_namespace")
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            handled = [statement for handler in handlers for statement in handler.body]
            is_part = _is_declaration([*body, *handled, *orelse, *final])
        case _:
            is_part = isinstance(node, ast.Pass) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            )
    return is_part
