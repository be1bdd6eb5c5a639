"""What the payload's Python code imports and names, found by parsing it.

Passes that leave out modules ask here who needs them. The answers err on the side of keeping: a
statement counts even where it is never reached.
"""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import PurePosixPath

from layerpack.payload import FileEntry, Payload

_DOTTED = re.compile(r"\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[\w.]+)?")
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


_BUILD_IMPORT = re.compile(rb"^\s*(?:from|import)\s+(?:distutils|setuptools)\b", re.MULTILINE)


def word_filter(words: Iterable[str]) -> Callable[[bytes], bool]:
    """A cheap test for code that may import, or name the path of, something called a word.

    Parsing every file of a stack takes a minute. This looks at how each word stands: in an import,
    or in a string as part of a module's name or a path. What it finds is parsed.
    """
    alternatives = "|".join(re.escape(word) for word in words)
    pattern = re.compile(rf"\b(?:{alternatives})\b".encode())

    def mentions(data: bytes) -> bool:
        return any(_stands_out(data, *match.span()) for match in pattern.finditer(data))

    return mentions


_WITHIN_STRING = re.compile(rb"[\"'][\w./\\:-]*$")
_LIST_OF_NAMES = re.compile(rb"[\w\s,()\\]*(#.*)?")
_JOINS = re.compile(rb"join|Path|/\s*$|__all__")
_SPAN = 400


def _stands_out(data: bytes, start: int, end: int) -> bool:
    """Whether the word at start..end may be imported or be part of a name in a string."""
    first = data.rfind(b"\n", 0, start) + 1
    last = data.find(b"\n", end)
    line = data[first : last if last >= 0 else len(data)]
    if b"import" in line:
        return True
    before, after = data[first:start], data[end : end + 1]
    if _WITHIN_STRING.search(before):
        if before[-1:] in b"./" or after in (b".", b"/"):
            return True
        if after in (b'"', b"'"):
            # Alone in a string: a piece of a path, or a name in __all__, or just a word.
            around = data[max(0, start - 1 - _SPAN) : start - 1]
            if _JOINS.search(around) or data[end + 1 : end + 4].lstrip().startswith(b"/"):
                return True
            return data.rfind(b"__all__", 0, start) >= 0
    # On a line of its own within the parentheses of an import, which may be long.
    if _LIST_OF_NAMES.fullmatch(line):
        opened = data.rfind(b"import", 0, first)
        return opened >= 0 and b")" not in data[opened:first]
    return False


class Search:
    """Which of the `candidates` for removal the rest of the payload needs, and for whom.

    Closed transitively: what a kept candidate needs is kept too.
    """

    def __init__(self, code: Code, candidates: Iterable[str], words: Iterable[str]) -> None:
        self._code = code
        self._candidates = frozenset(candidates)
        self._words = frozenset(words)
        #: Path -> why it stays.
        self.kept: dict[str, str] = {}
        self._queue: list[str] = []

    def keep(self, path: str, reason: str) -> None:
        """Keep a candidate for a reason found elsewhere; what it needs is kept with it."""
        if path in self._candidates and path not in self.kept:
            self.kept[path] = reason
            self._queue.append(path)

    def run(self, mentions: Callable[[FileEntry, bytes], bool]) -> dict[str, str]:
        """Search all code for which `mentions` is true; gives path -> reason for what stays."""
        for entry in (*self._code.sources, *self._code.cython):
            if entry.path not in self._candidates and mentions(entry, entry.source.read_bytes()):
                self._follow(entry)
        while self._queue:
            entry = self._code.payload[self._queue.pop()]
            if entry.path.endswith((".py", ".pyx")):
                self._follow(entry)
                self._keep_data_beside(entry)
        return self.kept

    def imported(self, name: str, reason: str) -> None:
        """Keep the module of a dotted name, and the packages above it, which it runs first."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = self._code.modules.get(".".join(parts[:end]))
            if path is not None:
                self.keep(path, reason)

    def _follow(self, entry: FileEntry) -> None:
        facts = self._code.facts(entry)
        shown = self._code.payload.in_site(entry.path) or entry.path
        for name in facts.imports:
            self.imported(name, f"{shown} imports it")
        module = self._code.module_name(entry.path) or ""
        package = module if entry.path.endswith("/__init__.py") else module.rpartition(".")[0]
        for text in facts.strings:
            if "." in text and _DOTTED.fullmatch(text):
                self._named(absolute(text.partition(":")[0], package), f"{shown} names it")
        if entry.path not in self._candidates and not is_build_script(entry, b""):
            self._keep_named_paths(entry, facts, f"{shown} names its path")

    def _named(self, name: str, reason: str) -> None:
        """A module named in a string, for importlib; a package's data goes with it."""
        parts = name.split(".")
        if len(parts) == 1:
            return
        self.imported(name, reason)
        module = self._code.modules.get(name)
        if module not in self._candidates and not self._words.intersection(parts[:-1]):
            # The suite as a whole, as for a test runner, or something else altogether.
            return
        folder = f"{self._code.payload.site}/{name.replace('.', '/')}/"
        for path in self._below(folder):
            self.keep(path, reason)

    def _keep_named_paths(self, entry: FileEntry, facts: Facts, reason: str) -> None:
        runs = {tuple(text.split("/")) for text in facts.strings if "/" in text} | facts.paths
        for run in runs:
            for index, piece in enumerate(run):
                if piece in self._words:
                    self._keep_path(entry, tuple(p for p in run[index:] if p), facts, reason)

    def _keep_path(self, entry: FileEntry, run: tuple[str, ...], facts: Facts, reason: str) -> None:
        """Keep the files of `run` = ("tests", "data", ...), in the distribution that names them."""
        wanted = "/" + "/".join(run)
        for candidate in self._of_distribution(entry.distribution):
            name = candidate.rpartition("/")[2]
            if len(run) == 1:
                # The folder alone, as for a test runner: what is read from it has a name too.
                found = f"{wanted}/" in candidate and name in facts.strings
                found = found and not name.endswith(".py")
            else:
                found = f"{wanted}/" in candidate or candidate.endswith(wanted)
            if found:
                self.keep(candidate, reason)

    def _keep_data_beside(self, entry: FileEntry) -> None:
        """Keep what a kept module may read: files below its folder that it names in part."""
        folder = entry.path.rpartition("/")[0] + "/"
        pieces = {piece for text in self._code.facts(entry).strings for piece in text.split("/")}
        shown = self._code.payload.in_site(entry.path)
        for path in self._below(folder):
            inside = path[len(folder) :].split("/")
            if not path.endswith(".py") and pieces.intersection(inside):
                self.keep(path, f"{shown} names it")

    def _below(self, folder: str) -> list[str]:
        start = bisect_left(self._sorted, folder)
        return list(takewhile(lambda path: path.startswith(folder), self._sorted[start:]))

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._candidates)

    @cached_property
    def _by_distribution(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted(self._candidates):
            found.setdefault(self._code.payload[path].distribution, []).append(path)
        return found

    def _of_distribution(self, distribution: str) -> list[str]:
        return self._by_distribution.get(distribution, [])
