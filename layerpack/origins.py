"""Which library or program a failure lacks: one that Lambda's runtime does not have either.

Where it can, the emulator hides libraries and programs that only this machine, or an image, has
(emulator/host_system.py): whatever needs one fails in the layers and in the plain install alike,
and `find_lack` finds its name in the error. Libraries that are there for the interpreter's own
modules, what an image has elsewhere than systems do, and all libraries without isolation, are
visible: `need_own` looks at the mapped files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Final

from layerpack import data
from layerpack.elf import ElfError, read_file
from layerpack.emulator.host_system import System
from layerpack.emulator.sandbox import SCRATCH
from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile
from layerpack.payload import FileEntry, is_library_name
from layerpack.recipe import Recipe

# The expressions read what a function says, which may be large: none reads a piece of it again and
# again. What dlerror(3) says, and so ctypes, cffi and import do.
_NOT_OPENED: Final = re.compile(r"(?<![\w./+-])([\w./+-]++): cannot open shared object file")
# What cffi says, and modules for which ctypes.util finds nothing: with a soname or a name much like
# one. It counts where the system has such a library.
_NOT_LOADED: Final = re.compile(
    r"cannot load library '([\w./+-]+)'"
    r"|(?:failed|unable) to (?:find|load|locate) '?(lib\w[\w+-]*(?:\.[\w+-]+)*)"
    r"|(?:could not|cannot|can't) (?:find|load|locate) '?(lib\w[\w+-]*(?:\.[\w+-]+)*)",
    re.IGNORECASE,
)
#: What a process maps beside files that were there before it (proc(5), memfd_create(2), shmat(2)).
_NO_FILES: Final = ("/tmp/", "/memfd:", "/dev/", "/SYSV")  # noqa: S108
#: The function's and the layers' own files in a sandbox.
_IN_SANDBOX: Final = ("/opt/", "/var/task/", "/var/runtime/", "/var/rapid/")
# Of subprocess, and of a shell that subprocess started.
_NO_FILE: Final = re.compile(r"No such file or directory: '((?:/\w++(?=/))*+/?[\w.+-]++)'")
_COMMAND: Final = re.compile(r"Command '?\[?'?([\w./+-]++)")
_STATUS: Final = " returned non-zero exit status 127"
# Of bash, dash and busybox, on standard error.
_SHELL_NOT_FOUND: Final = re.compile(
    r"^\S*sh: (?:(?:line )?\d+: )?([\w./+-]+): (?:command )?not found$", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """A library's soname or a program's name; `place` is where the `system` has it (by its name in
    messages), empty where it has none."""

    name: str
    is_program: bool
    place: str
    system: str

    def sentence(self, profile: RuntimeProfile) -> str:
        """What is lacking, for an error."""
        if self.name in data.load("runtime_system.json")["programs_not_shown"]:
            return f"{profile.runtime} has {self.name}, but the emulator cannot imitate it"
        kind = "program" if self.is_program else "library"
        has = f"; {self.system} has {self.place}, which does not count" if self.place else ""
        return f"{profile.runtime} has no {kind} {self.name}, nor do the layers{has}"

    @property
    def hint(self) -> str:
        """What to do next."""
        if self.is_program:
            return (
                f"Bring {self.name} with the function: as a file of function.source, as one of "
                "`assets` (/opt/assets/NAME), or by a wheel that carries it."
            )
        return (
            f"Require a wheel that carries {self.name}, or name a file for it "
            f"(`system-libraries: {{{self.name}: FILE}}`). Where the function does without, write "
            f"`system-libraries: {{optional: [{self.name}]}}`."
        )


def find_lack(
    text: str, profile: RuntimeProfile, system: System, entries: Iterable[FileEntry] = ()
) -> Lack | None:
    """The first library or program that an error's text says is absent, and that neither the
    runtime nor the `entries` have; `system` is the one that it ran on."""
    found = [*_libraries(text, profile, system), *_programs(text, profile, system)]
    has = {entry.path.rpartition("/")[2] for entry in entries} if found else set()
    return next((lack for lack in found if lack.name not in has), None)


def unfound_programs(
    printed: str, profile: RuntimeProfile, system: System, entries: Iterable[FileEntry]
) -> list[Lack]:
    """The programs that a shell did not find, by what a function `printed`, and that neither the
    runtime nor the `entries` have."""
    names = {path.rpartition("/")[2]: path for path in _SHELL_NOT_FOUND.findall(printed)}
    has = _programs_of(profile) | {entry.path.rpartition("/")[2] for entry in entries}
    return [
        Lack(name=name, is_program=True, place=system.program(path) or "", system=system.name)
        for name, path in sorted(names.items())
        if name not in has
    ]


def need_own(mapped: Mapping[str, str], recipe: Recipe, system: System, *, isolated: bool) -> None:
    """Hold files that were mapped as code, each with its user, against what Lambda has;
    `isolated`: they have their paths in a sandbox.

    Raises VerificationError naming the files of the system that stand for nothing there, but for
    those that others of them need.
    """
    own = _NO_FILES + (_IN_SANDBOX if isolated else (f"{Path(gettempdir()).resolve()}/{SCRATCH}",))
    users = {
        system.place_of(path) if isolated else path: user
        for path, user in mapped.items()
        if not path.startswith(own)
    }
    foreign = sorted(system.foreign(users))
    names = {path: system.sonames.get(path, path.rpartition("/")[2]) for path in foreign}
    names = {p: name for p, name in names.items() if name not in recipe.optional_libraries}
    needed = set().union(*(_needed(path) for path in names))
    # What the others need comes with them; where all need one another, all are named.
    opened = {path: name for path, name in names.items() if name not in needed} or names
    lacks = {
        path: Lack(name=name, is_program=not is_library_name(name), place=path, system=system.name)
        for path, name in opened.items()
    }
    if lacks:
        told = [
            f"{users[path]} runs code of {system.name}: {lack.sentence(recipe.profile)}"
            for path, lack in lacks.items()
        ]
        raise VerificationError("\n".join(told), _hint(list(lacks.values())))


def _needed(path: str) -> tuple[str, ...]:
    """The sonames that a library or program needs; none where it is not on this machine."""
    try:
        return read_file(Path(path)).needed
    except (OSError, ElfError):
        return ()


def _hint(lacks: Sequence[Lack]) -> str:
    """What to do about all of them."""
    libraries = [lack for lack in lacks if not lack.is_program]
    hints = [lack.hint for lack in lacks if lack.is_program]
    if len(libraries) > 1:
        names = ", ".join(lack.name for lack in libraries)
        hints.insert(
            0,
            f"Require wheels that carry {names}, or name a file for each "
            f"(`system-libraries: {{{libraries[0].name}: FILE, ...}}`). Where the function does "
            f"without, write `system-libraries: {{optional: [{names}]}}`.",
        )
    else:
        hints[:0] = [lack.hint for lack in libraries]
    return " ".join(hints)


def refuse_foreign(
    what: str, problem: str, recipe: Recipe, system: System, entries: Iterable[FileEntry] = ()
) -> None:
    """Raise VerificationError for a `problem` of a library or program that neither the layers nor
    the runtime have: what fails so in a plain install as well fails on Lambda too."""
    lack = find_lack(problem, recipe.profile, system, entries)
    if lack is not None and lack.name not in recipe.optional_libraries:
        error = VerificationError(f"{what}: {problem}")
        raise explained(error, recipe.profile, system, entries)


def explained(
    error: VerificationError,
    profile: RuntimeProfile,
    system: System,
    entries: Iterable[FileEntry] = (),
) -> VerificationError:
    """The error of an import or a handler, with the library or program that it comes from: one that
    is not in `entries`, where that can be told."""
    lack = find_lack(error.message, profile, system, entries)
    if lack is None or lack.hint in error.hint:
        return error
    # The advice that fits this error comes first.
    return VerificationError(
        f"{error.message}\n{lack.sentence(profile)}", f"{lack.hint} {error.hint}".strip()
    )


def _libraries(text: str, profile: RuntimeProfile, system: System) -> Iterator[Lack]:
    sonames = list(system.libraries)[::-1]
    known = {_plain(soname): soname for soname in sonames}
    known |= {_plain(soname.partition(".so")[0]): soname for soname in sonames}
    opened = [name.rpartition("/")[2] for name in _NOT_OPENED.findall(text)]
    loaded = [next(filter(None, names)) for names in _NOT_LOADED.findall(text)]
    for name in (*opened, *(one.rpartition("/")[2] for one in loaded)):
        soname = known.get(_plain(name), "")
        if not soname and name not in opened:
            continue
        if (soname or name) not in profile.libraries:
            place = system.libraries[soname][0] if soname else ""
            yield Lack(name=soname or name, is_program=False, place=place, system=system.name)


def _plain(name: str) -> str:
    """A library's name as far as soname and Debian's package agree: `libpango-1.0-0`."""
    return name.replace(".so", "").replace(".", "-")


def _programs(text: str, profile: RuntimeProfile, system: System) -> Iterator[Lack]:
    has = _programs_of(profile)
    for path in _not_found(text):
        name = path.rpartition("/")[2]
        # A file elsewhere that has a program's name is no program.
        place = system.program(path)
        if place is not None and name not in has:
            yield Lack(name=name, is_program=True, place=place, system=system.name)


def _not_found(text: str) -> Iterator[str]:
    """The programs, or files, that were not found, by what an error says."""
    for line in text.split("\n"):
        yield from _NO_FILE.findall(line)
        if command := _COMMAND.search(line.rpartition(_STATUS)[0]):
            yield command[1]


def _programs_of(profile: RuntimeProfile) -> set[str]:
    facts = data.load("runtime_system.json")["programs"]
    return {*facts["all"], *facts[profile.system]}
