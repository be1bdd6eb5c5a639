"""Which pass, and which file, make a difference: found by running payloads with fewer edits."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layerpack.compare import Differences
from layerpack.payload import FileEntry, Payload

#: A search that takes longer is given up: what it would find is no longer worth the wait.
SECONDS: Final = 120.0
_MOST_NAMED: Final = 3
_WORD: Final = re.compile(r"(?<![\w./+-])[\w./+-]*\w")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A pass, and the payload after it."""

    name: str
    payload: Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What was found of the first difference that is shown.

    `pass_name` is the pass that makes it (empty where that is not known); `path` is the file that
    mends it when it alone is put back, empty where there is no such file; `remains` is whether
    others of the differences shown are still there then. `given_up`: the search took too long.
    """

    pass_name: str = ""
    path: str = ""
    remains: bool = False
    given_up: bool = False


def find_cause(
    before: Payload,
    steps: Sequence[Step],
    problem: Callable[[Payload], Differences],
    shown: Differences,
    *,
    tell: Callable[[str, int], None] = lambda what, tries: None,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Cause:
    """Find what makes the first difference of `shown`, which `problem` finds in a payload.

    `before` is the payload before all passes. Files that `shown` names are tried first. `tell`
    hears of each try before it: what is tried, and how many tries there were. A search that takes
    longer than `seconds` is given up.
    """
    if not steps:
        return Cause()
    search = _Search(
        *(before, steps),
        problem=problem,
        shown=shown,
        tell=tell,
        until=clock() + seconds,
        clock=clock,
    )
    try:
        return search.run()
    except _GivenUpError:
        return Cause(pass_name=search.pass_name, given_up=True)


class _GivenUpError(Exception):
    """There is no time for another try."""


class _Search:
    """One search; `until` by `clock`."""

    def __init__(
        self,
        before: Payload,
        steps: Sequence[Step],
        *,
        problem: Callable[[Payload], Differences],
        shown: Differences,
        tell: Callable[[str, int], None],
        until: float,
        clock: Callable[[], float],
    ) -> None:
        self.names = [step.name for step in steps]
        self.payloads = [before, *(step.payload for step in steps)]
        self.problem = problem
        self.shown = shown
        self.first = shown.shown[0].key
        self.tell = tell
        self.until = until
        self.clock = clock
        self.tries = 0
        self.pass_name = ""

    @property
    def last(self) -> Payload:
        return self.payloads[-1]

    def run(self) -> Cause:
        if not self.breaks(self.last, "all passes"):
            return Cause()
        for path in named_files(self.shown.text, self.payloads[0], self.last):
            if cause := self.version(path):
                return cause
        if self.breaks(self.payloads[0], "no pass"):
            return Cause()
        # Whole before the one, broken after the other.
        low, high = 0, len(self.names)
        while high - low > 1:
            middle = (low + high) // 2
            if self.breaks(self.payloads[middle], f"passes up to '{self.names[middle - 1]}'"):
                high = middle
            else:
                low = middle
        self.pass_name = self.names[high - 1]
        path = self.file(self.payloads[low], self.payloads[high])
        entry = self.payloads[low].get(path)
        return self.mended(path, entry) or Cause(pass_name=self.pass_name)

    def found(self, payload: Payload, what: str) -> Differences:
        """The differences of a payload."""
        if self.clock() > self.until:
            raise _GivenUpError
        self.tries += 1
        self.tell(what, self.tries)
        found = self.problem(payload)
        # A try that the end of the time cut short tells nothing.
        if self.clock() > self.until:
            raise _GivenUpError
        return found

    def breaks(self, payload: Payload, what: str) -> bool:
        """Whether the difference is in the payload."""
        return self.first in self.found(payload, what).keys

    def mended(self, path: str, entry: FileEntry | None) -> Cause | None:
        """The cause where a file put back (None: removed) in the last payload mends it."""
        left = self.found(put_back(self.last, path, entry), path).keys
        if self.first in left:
            return None
        remains = bool(left & self.shown.keys)
        return Cause(pass_name=self.pass_name, path=path, remains=remains)

    def version(self, path: str) -> Cause | None:
        """The cause where a file as it was before all passes mends it: the pass is the first whose
        version of the file breaks it."""
        entry = self.payloads[0].get(path)
        cause = self.mended(path, entry)
        if cause is None:
            return None
        changing = [
            number
            for number in range(1, len(self.payloads))
            if self.payloads[number].get(path) != self.payloads[number - 1].get(path)
        ]
        for number in changing[:-1]:
            entry = self.payloads[number].get(path)
            if self.breaks(put_back(self.last, path, entry), path):
                changing = [number]
                break
        return Cause(pass_name=self.names[changing[-1] - 1], path=path, remains=cause.remains)

    def file(self, before: Payload, after: Payload) -> str:
        """The last of the files, in their order by path, that it takes for a pass to break it; of
        files that break it each by itself, the first."""
        old = {entry.path: entry for entry in before}
        new = {entry.path: entry for entry in after}
        added = sorted(new.keys() - old.keys())
        changed = sorted(path for path in old if old[path] != new.get(path))
        # What came in addition is there from the start: libraries that were rewritten may need it.
        base = before.updated(add=[new[path] for path in added])
        if added and (not changed or self.breaks(base, "additions")):
            base, changed = before, added
        low, high = 0, len(changed)
        while high - low > 1:
            middle = (low + high) // 2
            part = changed[:middle]
            mixed = base.updated(
                add=[new[path] for path in part if path in new],
                remove=[path for path in part if path not in new],
            )
            if self.breaks(mixed, f"{middle:,} of {len(changed):,} files of '{self.pass_name}'"):
                high = middle
            else:
                low = middle
        return changed[high - 1]


def put_back(payload: Payload, path: str, entry: FileEntry | None) -> Payload:
    """A payload with one file as it was (None: without it), and without bytecode of another."""
    folder, _, name = path.rpartition("/")
    stale: list[str] = []
    if name.endswith(".py"):
        start = f"{folder}/__pycache__/{name[:-3]}."
        stale = [one.path for one in payload if one.path.startswith(start)]
    if entry is None:
        return payload.updated(remove=[path, *stale])
    return payload.updated(add=[entry], remove=stale)


def named_files(text: str, before: Payload, after: Payload) -> list[str]:
    """The files that the passes changed and that a text (an error, a traceback) names: by path, as
    a module, or by name; the surest first, and no more than a few."""
    old: Mapping[str, FileEntry] = {entry.path: entry for entry in before}
    new = {entry.path: entry for entry in after}
    words = set(_WORD.findall(text))
    paths = {word.removeprefix("/opt/") for word in words if "/" in word}
    modules = {word.replace(".", "/") for word in words if "/" not in word}
    names = {posixpath.basename(word) for word in words if "." in word}

    def sureness(path: str) -> int:
        name = posixpath.basename(path)
        inside = before.in_site(path) or path
        # `alpha/tests/__init__.py` and `alpha/_code.cpython-312-x86_64-linux-gnu.so` are modules.
        stem = inside.removesuffix("/__init__.py")
        stem = f"{posixpath.dirname(stem)}/{posixpath.basename(stem).partition('.')[0]}".strip("/")
        # A word such as `value` names too much to be a module at the top.
        module = stem in modules and ("/" in stem or f"'{stem}'" in text)
        return 3 * (path in paths) or 2 * module or int(name in names)

    changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    found = sorted((-sureness(path), path) for path in changed if sureness(path))
    return [path for _, path in found[:_MOST_NAMED]]
