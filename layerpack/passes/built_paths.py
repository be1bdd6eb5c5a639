"""Folders below which Python code may build a file's name at run time."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator

from layerpack.passes.code import called, walk

_JOINS = frozenset({"join", "joinpath", "Path", "PurePath"})
#: Words of an expression that leads to the package's own folder.
_OWN_FOLDER = frozenset({"__file__", "__path__", "files", "find_spec"})


def built_folders(tree: ast.Module, folders: Collection[str]) -> frozenset[str]:
    """The names of those `folders` (below site-packages) that a module may look into by names that
    it does not spell.

    So does a path that goes on behind the folder with what is no constant (`join(x, "bin", tool)`),
    one that begins in the package and ends with the folder (`HERE / "bin"`), and the dotted name of
    a package (`"tools.bin"`).
    """
    nodes = list(walk(tree))
    names = {folder.rpartition("/")[2] for folder in folders}
    own = _OwnFolder(nodes)
    found: set[str] = set()
    # `HERE / "bin"` within `HERE / "bin" / "tool"` is no path by itself; `walk` gives outer ones
    # first.
    inner: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.BinOp):
            inner.update(map(id, (node.left, node.right)))
        if isinstance(node, ast.BinOp) and id(node) in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            folder = node.value.replace(".", "/")
            if folder in folders:
                found.add(folder.rpartition("/")[2])
        else:
            found.update(_open_ends(node, names, own))
    return frozenset(found)


def _open_ends(node: ast.AST, names: Collection[str], own: _OwnFolder) -> Iterator[str]:
    operands = _operands(node)
    for at, operand in enumerate(operands):
        part = _last_piece(operand)
        if part not in names:
            continue
        rest = operands[at + 1 :]
        goes_on = bool(rest) and not _is_spelled(rest[0])
        if goes_on or (not rest and any(map(own.leads_to, operands[:at]))):
            yield part


def _operands(node: ast.AST) -> list[ast.expr]:
    """The parts of a path: arguments of `join`, operands of `/` and `+`, pieces of an f-string."""
    if isinstance(node, ast.Call) and called(node) in _JOINS:
        base = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        return [*base, *node.args]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
        return [*(_operands(node.left) or [node.left]), *(_operands(node.right) or [node.right])]
    return list(node.values) if isinstance(node, ast.JoinedStr) else []


def _is_spelled(node: ast.expr) -> bool:
    """Whether a part of a path is a constant, or one of two."""
    if isinstance(node, ast.IfExp):
        return _is_spelled(node.body) and _is_spelled(node.orelse)
    return isinstance(node, ast.Constant)


def _last_piece(node: ast.expr) -> str:
    """The folder that a constant part of a path ends with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rstrip("/").rpartition("/")[2]
    return ""


class _OwnFolder:
    """Which expressions of a module may lead to its package's own folder."""

    def __init__(self, nodes: list[ast.AST]) -> None:
        mentions: dict[str, set[str]] = defaultdict(set)
        self._names = set(_OWN_FOLDER)
        imported: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        mentions[target.id] |= _words(node.value)
            elif isinstance(node, ast.ImportFrom) and not _is_stdlib(node):
                imported.update(alias.asname or alias.name for alias in node.names)
        while (
            new := {name for name, words in mentions.items() if words & self._names} - self._names
        ):
            self._names |= new
        # What other modules say may be the folder itself; what is made of it is anything.
        self._names |= imported

    def leads_to(self, node: ast.expr) -> bool:
        """Whether a variable or call in an expression leads there."""
        return not self._names.isdisjoint(_words(node))


def _is_stdlib(node: ast.ImportFrom) -> bool:
    return not node.level and (node.module or "").partition(".")[0] in sys.stdlib_module_names


def _words(node: ast.AST) -> set[str]:
    return {
        one.id if isinstance(one, ast.Name) else one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Name | ast.Attribute)
    }
