"""Leave out copies of the same shared library.

Wheels bring their own copies (`*.libs/libgomp-a34b3233.so.1`), and, as a zip has no links, the
same bytes under several names (`libfoo.so`, `libfoo.so.1`).

Whatever opens a library (ctypes, dlopen, a plug-in's loader that builds the name at run time)
expects it under its name and where it was, and no search of the code finds every such name. So
among the names of one folder, one keeps the bytes, and the others become stand-ins that load it
(elf/stand_in.py). Copies in several folders become one in lib/ only where nothing but DT_NEEDED
can refer to them: their names have a hash in them, which no code can build, and no code names
them or their folder.

The loader then finds the one in lib/ (ld.so(8)): a name in DT_NEEDED without a slash is looked for
in the DT_RPATH folders of the library and of those that loaded it, then in LD_LIBRARY_PATH, which
on Lambda ends with /opt/lib, then in the library's DT_RUNPATH. So a copy in lib/ is found by
everyone, after an RPATH that no longer has it, and before any RUNPATH: no other library of that
name may exist. And its own RPATH of `$ORIGIN` then means lib/, so what it needs of the payload must
lie there too.
"""

from __future__ import annotations

import mmap
import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from typing import ClassVar, Literal

from layerpack import elf
from layerpack.elf.stand_in import STAND_IN_VERSION
from layerpack.passes.api import Add, Edit, Keep, PassContext, Remove, Rewrite
from layerpack.passes.code import Code
from layerpack.passes.kept import KeptFile
from layerpack.payload import LIBRARIES, FileEntry, Payload, is_library_name
from layerpack.recipe import Recipe
from layerpack.units import key_of

# auditwheel names what it grafts after its content: libgomp-a34b3233.so.1.0.0.
_GRAFTED = re.compile(r"-[0-9a-f]{8}(\.|-|$)")
# The ending of the folders that it puts them in: code with this word may build a folder's name.
_LIBS = re.compile(rb"\.libs\b")


class Duplicates:
    """Copies of a library: one stays, in lib/ or under the name that libraries need it by."""

    name: ClassVar[str] = "duplicates"
    summary: ClassVar[str] = "copies of the same shared library"
    after: ClassVar[frozenset[str]] = frozenset(
        {"tests", "docs", "spacy-languages", "runtime-provided"}
    )

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.duplicates: false` turns it off."""
        return recipe.strip.duplicates

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove copies that only DT_NEEDED refers to, and make stand-ins of other names; keep the
        rest, with the reason."""
        libraries = [entry for entry in payload if is_library_name(entry.path)]
        groups = defaultdict(list)
        for entry in libraries:
            groups[entry.sha256].append(entry)
        copies = [group for group in groups.values() if len(group) > 1]
        if not copies:
            return
        stack = _Stack(payload, libraries)
        moving: list[list[FileEntry]] = []
        for group in copies:
            left = yield from _merge_names(stack, group, context)
            if len(left) > 1:
                moving.append(left)
        yield from _merge_folders(stack, moving, context)


def _name(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[2]


def _folder(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[0]


class _Stack:
    """All libraries of the payload, and who refers to them."""

    def __init__(self, payload: Payload, libraries: list[FileEntry]) -> None:
        self.payload = payload
        self.objects: dict[str, elf.SharedObject] = {}
        for entry in libraries:
            try:
                self.objects[entry.path] = elf.read_file(entry.source)
            except elf.ElfError:
                continue
        self.needed = {name for item in self.objects.values() for name in item.needed}
        self._texts = [
            (entry.distribution, entry.source.read_bytes()) for entry in Code(payload).sources
        ]

    def contents(self, name: str) -> set[str]:
        """The hashes of all files of a name."""
        return {entry.sha256 for entry in self.payload if _name(entry) == name}

    def may_be_opened(self, entry: FileEntry) -> str | None:
        """Why code may open a library by its name or path, None if only DT_NEEDED refers to it."""
        name = _name(entry)
        if not _GRAFTED.search(name.partition(".so")[0]):
            return "code may build its name"
        folder = _folder(entry).rpartition("/")[2]
        if not folder.endswith(".libs"):
            return "code may list its folder"
        stem = name.partition(".so")[0]
        for distribution, text in self._texts:
            for word in (stem, folder):
                if word.encode() in text:
                    return f"code names {word}"
            if distribution == entry.distribution and _LIBS.search(text):
                return "code may build its folder's name"
        return self._named_by_library(entry)

    def _named_by_library(self, entry: FileEntry) -> str | None:
        name = _name(entry)
        for path, item in self.objects.items():
            other = self.payload[path]
            if name in item.needed or other.sha256 == entry.sha256 or other.size == 0:
                continue
            with (
                other.source.open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                if data.find(name.encode() + b"\0") >= 0:
                    return f"{_name(other)} names it"
        return None


def _merge_names(
    stack: _Stack, group: list[FileEntry], context: PassContext
) -> Generator[Edit, None, list[FileEntry]]:
    """Among equal files of one folder, one keeps the bytes; gives the rest of the group."""
    left = []
    folders = defaultdict(list)
    for entry in group:
        folders[_folder(entry)].append(entry)
    for entries in folders.values():
        item = stack.objects.get(entries[0].path)
        asked = next((e for e in entries if item is not None and _name(e) == item.soname), None)
        if len(entries) == 1 or item is None or asked is None:
            left.extend(entries)
            continue
        left.append(asked)
        for entry in entries:
            if entry is asked:
                continue
            if _name(entry) in stack.needed:
                # The loader looks for symbol versions in the file that has the needed name.
                yield Keep(path=entry.path, reason="a copy, but libraries need it by this name")
            else:
                yield _stand_in(entry, item.machine, _name(asked), context)
    return left


def _stand_in(
    entry: FileEntry, machine: Literal["x86_64", "aarch64"], other: str, context: PassContext
) -> Edit:
    data = elf.stand_in(machine, other)
    if len(data) >= entry.size:
        return Keep(path=entry.path, reason="a copy, but as small as a stand-in")
    key = key_of("stand-in", STAND_IN_VERSION, machine, other)
    made = KeptFile(context.cache / "stand-ins" / f"{key}.so")
    if not made.is_whole():
        made.make(lambda path: {"bytes": path.write_bytes(data)})
    reason = f"a copy of {other} beside it, which it loads"
    return Rewrite(path=entry.path, source=made.file, reason=reason)


def _merge_folders(
    stack: _Stack, groups: list[list[FileEntry]], context: PassContext
) -> Iterator[Edit]:
    """Move libraries of several folders to lib/, as far as the loader then finds all."""
    problems = {id(group): _problem(stack, group, context) for group in groups}
    in_lib = {_name(entry) for entry in stack.payload if _folder(entry) == LIBRARIES}
    while True:
        moving = [group for group in groups if problems[id(group)] is None]
        there = in_lib | {_name(group[0]) for group in moving}
        stuck = [group for group in moving if _misses(stack, group[0], there)]
        if not stuck:
            break
        for group in stuck:
            problems[id(group)] = f"it needs {_misses(stack, group[0], there)} beside it"
    for group in groups:
        problem = problems[id(group)]
        target = f"{LIBRARIES}/{_name(group[0])}"
        for entry in group:
            if problem is not None:
                yield Keep(path=entry.path, reason=f"a copy, but {problem}")
            elif entry.path != target:
                yield Remove(path=entry.path, reason=f"a copy; one is in {target}")
        if problem is None and target not in stack.payload:
            moved = FileEntry(
                path=target,
                size=group[0].size,
                mode=group[0].mode,
                sha256=group[0].sha256,
                distribution="system",
                source=group[0].source,
            )
            yield Add(entry=moved, reason=f"one copy in place of {len(group)}")


def _problem(stack: _Stack, group: list[FileEntry], context: PassContext) -> str | None:
    """Why equal files of several folders cannot become one in lib/."""
    names = {_name(entry) for entry in group}
    item = stack.objects.get(group[0].path)
    if item is None:
        return "it cannot be read"
    if len(names) > 1 or item.soname not in names:
        return "its copies have other names than libraries ask for"
    if item.soname in context.profile.libraries:
        return "the runtime has a library of this name"
    if len(stack.contents(item.soname)) > 1:
        return "another library has the same name"
    if item.soname not in stack.needed:
        return "no library needs it, so it is opened by its path"
    return next(filter(None, (stack.may_be_opened(entry) for entry in group)), None)


def _misses(stack: _Stack, entry: FileEntry, there: set[str]) -> str | None:
    """A library of the payload that `entry` needs and that would not lie in lib/ with it."""
    for name in stack.objects[entry.path].needed:
        if name not in there and stack.contents(name):
            return name
    return None
