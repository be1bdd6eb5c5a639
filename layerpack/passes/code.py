"""What the payload's Python code imports and names, found by parsing it.

Passes that leave out modules ask here who needs them. The answers err on the side of keeping: a
statement counts even where it is never reached.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from layerpack.payload import FileEntry, Payload

# An import statement of Cython, which is close enough to Python's to parse once `cimport` is gone.
_CYTHON_IMPORT = re.compile(
    r"^[ \t]*((?:from[ \t]+[\w.]+[ \t]+c?import|c?import)[ \t]+(?:\([^)]*\)|[^\n#(]+))",
    re.MULTILINE,
)
_CALLS_WITH_PATHS = frozenset({"join", "joinpath", "Path", "PurePath"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What one module says.

    `imports`: absolute dotted names that its import statements may load, `from a import b` as both
    `a` and `a.b`; `strings`: its string constants, docstrings left out; `paths`: path pieces that
    stand together, `join(here, "data", "x.csv")` as ("data", "x.csv").
    """

    imports: frozenset[str]
    strings: frozenset[str]
    paths: frozenset[tuple[str, ...]]


_NO_FACTS = Facts(imports=frozenset(), strings=frozenset(), paths=frozenset())


class Code:
    """The Python code of a payload's distributions."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self._facts: dict[str, Facts] = {}

    @cached_property
    def sources(self) -> tuple[FileEntry, ...]:
        """Every `.py` file of the distributions."""
        return self._with_suffix(".py")

    @cached_property
    def cython(self) -> tuple[FileEntry, ...]:
        """Every `.pyx` file: what the compiled module made from it imports."""
        return self._with_suffix(".pyx")

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted module name -> path, for `.py` files and extension modules."""
        found = {}
        for entry in self.payload:
            name = self.module_name(entry.path)
            if name:
                found[name] = entry.path
        return found

    def _with_suffix(self, suffix: str) -> tuple[FileEntry, ...]:
        return tuple(
            entry
            for entry in self.payload
            if entry.path.endswith(suffix) and self.payload.in_site(entry.path) is not None
        )

    def module_name(self, path: str) -> str | None:
        """The dotted name under which `path` is imported, None for other files."""
        inside = self.payload.in_site(path)
        if inside is None:
            return None
        folder, _, name = inside.rpartition("/")
        stem, _, suffix = name.partition(".")
        if suffix != "py" and not suffix.endswith("so"):
            return None
        parts = [*folder.split("/"), stem] if folder else [stem]
        if stem == "__init__":
            parts.pop()
        return ".".join(parts)

    def facts(self, entry: FileEntry) -> Facts:
        """What a `.py` or `.pyx` file says; nothing where it cannot be parsed (or imported)."""
        known = self._facts.get(entry.path)
        if known is None:
            known = self._facts[entry.path] = self._parse(entry)
        return known

    def _parse(self, entry: FileEntry) -> Facts:
        data = entry.source.read_bytes()
        module = self.module_name(entry.path) or ".".join(
            PurePosixPath(self.payload.in_site(entry.path) or entry.path).with_suffix("").parts
        )
        package = module if entry.path.endswith("/__init__.py") else module.rpartition(".")[0]
        if entry.path.endswith(".pyx"):
            return _cython_facts(data, package)
        tree = parse(data)
        return _NO_FACTS if tree is None else _facts(tree, package)


def parse(data: bytes) -> ast.Module | None:
    """The syntax tree, None where this Python cannot parse it (templates, Python 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _cython_facts(data: bytes, package: str) -> Facts:
    imports: set[str] = set()
    for match in _CYTHON_IMPORT.finditer(data.decode("utf-8", "replace")):
        tree = parse(match[1].replace("cimport", "import").encode())
        if tree is not None:
            imports |= _facts(tree, package).imports
    return Facts(imports=frozenset(imports), strings=frozenset(), paths=frozenset())


def _facts(tree: ast.Module, package: str) -> Facts:
    imports: set[str] = set()
    strings: set[str] = set()
    paths: set[tuple[str, ...]] = set()
    for node in walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                strings.add(node.value)
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute("." * node.level + (node.module or ""), package)
            imports.add(base)
            imports.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            paths.update(_pieces(node.args) if called(node) in _CALLS_WITH_PATHS else ())
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            paths.update(_pieces(_quotients(node)))
        elif isinstance(node, ast.Assign | ast.AugAssign):
            imports.update(f"{package}.{name}" for name in _exported(node))
    return Facts(imports=frozenset(imports), strings=frozenset(strings), paths=frozenset(paths))


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a tree but docstrings; in a third of the time that ast.walk takes."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                stack.append(value)
            elif isinstance(value, list):
                stack.extend(item for item in value if isinstance(item, ast.AST))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                stack.remove(first)


def absolute(name: str, package: str) -> str:
    """A module name with leading dots, as an absolute one seen from `package`."""
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    parts = package.split(".")
    base = parts[: len(parts) - (level - 1)]
    return ".".join([*base, name[level:]]).strip(".")


def called(node: ast.Call) -> str:
    """The last name of what is called: `join` for `os.path.join(...)`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _quotients(node: ast.expr) -> list[ast.expr]:
    """The operands of `a / "b" / "c"`, in order."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*_quotients(node.left), node.right]
    return [node]


def _pieces(nodes: Iterable[ast.expr]) -> Iterator[tuple[str, ...]]:
    """Runs of constant path pieces among `nodes`, cut at slashes."""
    run: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            run.extend(piece for piece in node.value.split("/") if piece)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)


def _exported(node: ast.Assign | ast.AugAssign) -> Iterator[str]:
    """The names in `__all__`: `from package import *` imports those that are modules."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
        for item in ast.walk(node.value):
            if isinstance(item, ast.Constant) and isinstance(item.value, str):
                yield item.value


def is_build_script(entry: FileEntry, data: bytes) -> bool:
    """Whether a module serves a build: a setup script, a compiler's driver, a user of setuptools.

    What it reads is for compilers and packers, which a runtime has none of.
    """
    *folders, name = entry.path.split("/")
    return (
        name in {"setup.py", "_setup.py"}
        or not {"distutils", "_distutils", "f2py"}.isdisjoint(folders)
        or _BUILD_IMPORT.search(data) is not None
    )


_BUILD_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(?:distutils|setuptools)\b", re.MULTILINE)
