"""What of the candidates for removal the rest of the payload needs, and for whom.

The questions err on the side of keeping: an import counts even where it is never reached.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import takewhile

from layerpack.passes.code import Code, Facts, absolute, is_build_script
from layerpack.payload import FileEntry

_DOTTED = re.compile(r"\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[\w.]+)?")


def word_filter(words: Iterable[str]) -> Callable[[bytes], bool]:
    """A cheap test for code that may import, or name the path of, something called a word.

    Parsing every file of a stack takes a minute. This looks at how each word stands: in an import,
    or in a string as part of a module's name or a path. What it finds is parsed.
    """
    # One pattern a word, which begins with its letters: those are found at memchr's speed.
    patterns = [re.compile(re.escape(word.encode()) + rb"\b") for word in words]

    def mentions(data: bytes) -> bool:
        return any(
            _stands_out(data, *match.span())
            for pattern in patterns
            for match in pattern.finditer(data)
        )

    return mentions


# Comments and doctests.
_NO_CODE = (b"#", b">>> ", b"... ")
_IMPORT = re.compile(rb"(?:^|[;:])[ \t]*(?:from|c?import)\b")
_WITHIN_STRING = re.compile(rb"[\"'][\w./\\:-]*$")
_LIST_OF_NAMES = re.compile(rb"[\w\s,()\\]*(#.*)?")
_JOINS = re.compile(rb"join|Path|/\s*$|__all__")
_SPAN = 400


def _stands_out(data: bytes, start: int, end: int) -> bool:
    """Whether the word at start..end may be imported or be part of a name in a string."""
    if re.match(rb"\w", data[start - 1 : start]):
        return False
    first = data.rfind(b"\n", 0, start) + 1
    last = data.find(b"\n", end)
    line = data[first : last if last >= 0 else len(data)]
    if line.lstrip().startswith(_NO_CODE):
        return False
    if _IMPORT.search(line) or _in_string(data, first, start, end):
        return True
    # On a line of its own within the parentheses of an import, which may be long.
    opened = data.rfind(b"import", 0, first) if _LIST_OF_NAMES.fullmatch(line) else -1
    return opened >= 0 and b")" not in data[opened:first]


def _in_string(data: bytes, first: int, start: int, end: int) -> bool:
    """Whether the word, in the line from `first`, is in a string with a dotted name or a path."""
    if not _WITHIN_STRING.search(data[first:start]):
        return False
    before, after = data[start - 1 : start], data[end : end + 1]
    if before in (b".", b"/") or after in (b".", b"/"):
        return True
    if after not in (b'"', b"'"):
        return False
    # Alone in a string: a piece of a path, or a name in __all__, or just a word.
    around = data[max(0, start - 1 - _SPAN) : start - 1]
    if _JOINS.search(around) or data[end + 1 : end + 4].lstrip().startswith(b"/"):
        return True
    return data.rfind(b"__all__", 0, start) >= 0


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
