"""Leave out programs that nothing calls: a build's tests and tools that a wheel brings along.

Code calls a program by its name. So one goes only where code knows another program of its folder
by name, and nothing names this one: no string in the Python code of the layers or the function, no
script or data file, no library that starts programs, no variable of the function's and no event of
a workload. Where code may build names in that folder (`BIN / name`), or a module lies in it, all of
its programs stay.
"""

from __future__ import annotations

import ast
import mmap
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack import elf
from layerpack.elf.format import PT_INTERP
from layerpack.elf.tables import undefined_and_defined_names
from layerpack.passes import folders
from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.built_paths import built_folders
from layerpack.passes.code import parse, walk
from layerpack.payload import SOURCE_KINDS, FileEntry, Payload, is_library_name
from layerpack.recipe import Recipe

#: Files that only compilers, type checkers and people read, by their endings.
_NO_CALLERS = frozenset(SOURCE_KINDS) | {".cmake", ".md", ".rst", ".pc"}
#: In bytes; larger ones are data.
_LARGEST_TEXT = 2**20
#: Functions of libc by which a library starts a program.
_STARTS = frozenset(
    {
        *("execl", "execlp", "execle", "execv", "execvp", "execve", "execvpe", "fexecve"),
        *("posix_spawn", "posix_spawnp", "system", "popen", "wordexp"),
    }
)
_WITHIN_NAMES = rb"[\w.+-]"
_PIECES = re.compile(r"[^\w.+-]+")


class Programs:
    """ELF programs of distributions."""

    name: ClassVar[str] = "programs"
    summary: ClassVar[str] = "programs that nothing calls"
    # Tests call the programs that are for tests.
    after: ClassVar[frozenset[str]] = frozenset({"tests", "docs"})

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.programs: false` turns it off."""
        return recipe.strip.programs

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove programs that nothing names; keep the others, with the reason."""
        by_folder: dict[tuple[str, str], list[FileEntry]] = defaultdict(list)
        for entry in payload:
            if folders.parts_in_site(payload, entry) is not None and _is_program(entry):
                by_folder[entry.path.rpartition("/")[0], entry.distribution].append(entry)
        if not by_folder:
            return
        programs = [entry for entries in by_folder.values() for entry in entries]
        callers = _Callers(payload, context, programs)
        for _, entries in sorted(by_folder.items()):
            yield from _plan(entries, callers)


def _plan(programs: list[FileEntry], callers: _Callers) -> Iterator[Edit]:
    """The edits for a distribution's programs in one folder."""
    named = {entry.path: callers.by_name(entry) for entry in programs}
    why = callers.of_folder(programs[0])
    if why is None and not any(named.values()):
        why = "code names none of its folder's programs, and may build their names"
    for entry in programs:
        reason = named[entry.path] or why
        if reason is None:
            yield Remove(path=entry.path, reason="a program that nothing names")
        else:
            yield Keep(path=entry.path, reason=f"a program, but {reason}")


def _is_program(entry: FileEntry) -> bool:
    # Without the mode it is data, or code copies it elsewhere first.
    if not entry.mode & 0o100 or is_library_name(entry.path) or not elf.is_elf(entry.source):
        return False
    try:
        read = elf.read_file(entry.source)
    except elf.ElfError:
        return False
    return read.kind == "ET_EXEC" or any(one.type == PT_INTERP for one in read.segments)


class _Callers:
    """What in a payload, the function and the recipe may call programs."""

    def __init__(self, payload: Payload, context: PassContext, programs: list[FileEntry]) -> None:
        self._payload = payload
        self._words = {_name(entry) for entry in programs}
        inside = (payload.in_site(entry.path) or "" for entry in programs)
        self._folders = {path.rpartition("/")[0] for path in inside}
        parts = b"|".join(re.escape(f.rpartition("/")[2].encode()) for f in sorted(self._folders))
        self._says_folder = re.compile(rb"""["'/.](?:%b)["'/]""" % parts)
        self._named: dict[str, str] = {}
        #: (distribution, folder's name) -> who may build a path into it.
        self._builders: dict[tuple[str, str], str] = {}
        ours = {entry.path for entry in programs}
        #: Folders with modules.
        self._modules: set[str] = set()
        self._libraries: list[FileEntry] = []
        for entry in (*payload, *context.function):
            ending = _ending(entry)
            if ending == ".py":
                self._modules.add(entry.path.rpartition("/")[0])
                self._read_python(entry)
            elif is_library_name(entry.path):
                self._libraries.append(entry)
            elif (
                ending not in _NO_CALLERS and entry.size <= _LARGEST_TEXT and entry.path not in ours
            ):
                self._read_text(entry)
        self._read_recipe(context.recipe)
        self._search_binaries(programs)

    def by_name(self, entry: FileEntry) -> str | None:
        """Who names a program, as a reason."""
        return self._named.get(_name(entry))

    def of_folder(self, entry: FileEntry) -> str | None:
        """Why any program of an entry's folder may be called."""
        folder = entry.path.rpartition("/")[0]
        if folder in self._modules:
            return "modules lie in its folder"
        return self._builders.get((entry.distribution, folder.rpartition("/")[2]))

    def _shown(self, entry: FileEntry) -> str:
        return self._payload.in_site(entry.path) or entry.path

    def _read_python(self, entry: FileEntry) -> None:
        data = entry.source.read_bytes()
        words = {word for word in self._words - self._named.keys() if _stands_alone(word, data)}
        says_folder = self._says_folder.search(data)
        tree = parse(data) if words or says_folder else None
        if tree is None:
            return
        for node in walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                for word in words.intersection(_PIECES.split(text)):
                    self._named.setdefault(word, f"{self._shown(entry)} names it")
        for part in built_folders(tree, self._folders) if says_folder else ():
            reason = f"{self._shown(entry)} may build names in {part}/"
            self._builders.setdefault((entry.distribution, part), reason)

    def _read_text(self, entry: FileEntry) -> None:
        if ".dist-info/" not in entry.path and b"\0" not in (data := entry.source.read_bytes()):
            self._search(data, self._shown(entry))

    def _read_recipe(self, recipe: Recipe) -> None:
        """Search what the recipe gives to the function: its variables and events."""
        variables = recipe.function.environment if recipe.function else {}
        for name, value in variables.items():
            self._search(value.encode(), f"function.environment.{name}")
        for workload in recipe.workloads:
            self._search((recipe.folder / workload.event).read_bytes(), workload.event)

    def _search(self, data: bytes, where: str) -> None:
        for word in self._words - self._named.keys():
            if _stands_alone(word, data):
                self._named[word] = f"{where} names it"

    def _search_binaries(self, programs: list[FileEntry]) -> None:
        """Search libraries that start programs, and then programs that something names."""
        for entry in self._libraries:
            if self._words - self._named.keys() and _may_start_programs(entry):
                self._read_binary(entry)
        done: set[str] = set()
        while new := [e for e in programs if _name(e) in self._named and e.path not in done]:
            for entry in new:
                self._read_binary(entry)
                done.add(entry.path)

    def _read_binary(self, entry: FileEntry) -> None:
        with (
            entry.source.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for word in self._words - self._named.keys():
                if data.find(word.encode() + b"\0") >= 0:
                    self._named[word] = f"{self._shown(entry)} names it"


def _name(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[2]


def _ending(entry: FileEntry) -> str:
    _, dot, ending = _name(entry).rpartition(".")
    return f"{dot}{ending}" if dot else ""


def _stands_alone(word: str, data: bytes) -> bool:
    if word.encode() not in data:
        return False
    pattern = rb"(?<!%b)%b(?!%b)" % (_WITHIN_NAMES, re.escape(word.encode()), _WITHIN_NAMES)
    return re.search(pattern, data) is not None


def _may_start_programs(entry: FileEntry) -> bool:
    """Whether a library calls libc for that, or is compiled Python code, which calls subprocess."""
    try:
        names = undefined_and_defined_names(entry.source)
    except (elf.ElfError, ValueError):
        return False
    return not _STARTS.isdisjoint(names) or any(name.startswith("PyInit_") for name in names)
