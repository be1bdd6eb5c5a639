"""Closing a payload over the shared libraries that it needs, and holding it against the runtime.

A library is looked for as glibc's loader would on Lambda (ld.so(8)): along DT_RPATH or DT_RUNPATH
with $ORIGIN, then on LD_LIBRARY_PATH (the layers' `lib/`), then among what the runtime provides. Or
it is loaded already, under its soname, by the distribution itself or one that it depends on: so
packages open their libraries in order.

A library that only Python's extension modules need, and that nobody has, need not be fatal: many
packages try to import such a module and do without. Whether this one does, the proof tells.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from layerpack.elf import ElfError, SharedObject, VersionNeed, is_elf, read_file
from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile, version_tuple
from layerpack.payload import LIBRARIES, FileEntry, Payload, is_library_name
from layerpack.required import requirements

SYSTEM = "system"
#: The user of a library that the recipe names, and that code may open by its name.
ASKED = "the recipe"

_VERSION = re.compile(r"^(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)$")
# A name without a number: DT_RELR relocations, which glibc 2.36 was the first to read.
_DT_RELR = "GLIBC_ABI_DT_RELR"
_MOST_SHOWN = 8
# As CPython names extension modules; one of another Python has no tag.
_EXTENSION = re.compile(r"\.(cpython-\w+(-[\w-]+)?|abi3)\.so$")

# Below site-packages, where wheels that install to the environment's `lib` have it.
_DATA_LIBRARIES = "lib"

#: Gives a file for a soname, or None.
LibrarySource = Callable[[str], Path | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """A library that was added: its entry, its soname, and the path of its first user; `origin` is
    the distribution that it was copied from, empty for one from elsewhere."""

    entry: FileEntry
    soname: str
    user: str
    origin: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What holding the libraries against the runtime gave: remarks to warn of, and an error for
    libraries that only extension modules lack, to be raised where no proof tells that they load."""

    remarks: tuple[str, ...] = ()
    doubt: VerificationError | None = None


class _Libraries:
    """The payload's shared libraries, read once."""

    def __init__(self, payload: Payload, profile: RuntimeProfile) -> None:
        self.profile = profile
        self.site = payload.site
        self.read: dict[str, SharedObject] = {}
        self._files: dict[str, Path] = {}
        self._owner: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        self._requires = requirements(payload)
        for entry in payload:
            if is_library_name(entry.path):
                self.add(entry)

    def add(self, entry: FileEntry) -> None:
        if not is_elf(entry.source):
            return  # a linker script, or a placeholder
        try:
            library = read_file(entry.source)
        except ElfError as error:
            # Foreign machines and 32 bits are somebody's test data; Python would not load them.
            if any(word in str(error) for word in ("machine", "64-bit", "little-endian")):
                return
            raise VerificationError(f"{entry.path} is not a valid library: {error}") from None
        if library.machine != self.profile.machine:
            return
        self.read[entry.path] = library
        self._files[entry.path] = entry.source
        self._owner[entry.path] = entry.distribution
        for name in {library.soname, posixpath.basename(entry.path)} - {None}:
            self._by_name.setdefault(str(name), []).append(entry.path)

    def find(self, soname: str, user: str) -> str | None:
        """The payload's path for what `user` needs; `""` when the runtime has it; None: missing."""
        library = self.read[user]
        if "/" in soname:
            path = _expanded(soname, user)
            return path if path in self.read else None
        for folder in (library.runpath or library.rpath or "").split(":"):
            if folder:
                path = _expanded(posixpath.join(folder, soname), user)
                if path in self.read:
                    return path
        if f"{LIBRARIES}/{soname}" in self.read:
            return f"{LIBRARIES}/{soname}"
        if soname in self.profile.libraries or soname.startswith("libpython3."):
            return ""
        near = self._closure(self._owner[user])
        return next((p for p in self._by_name.get(soname, ()) if self._owner[p] in near), None)

    def installed(self, soname: str) -> str | None:
        """The path of a library that a wheel installs to the environment's `lib`, by its
        `.data/data/lib`, which is on no search path of Lambda's."""
        path = f"{self.site}/{_DATA_LIBRARIES}/{soname}"
        return path if path in self.read else None

    def is_extension(self, path: str) -> bool:
        """Whether a library is an extension module, and no other library needs it."""
        name = posixpath.basename(path)
        if any(name in library.needed for library in self.read.values()):
            return False
        stem = name.partition(".")[0]
        init = f"PyInit_{stem}\0".encode()
        return bool(_EXTENSION.search(name)) or init in self._files[path].read_bytes()

    def _closure(self, distribution: str) -> set[str]:
        """The distribution, and all that it depends on."""
        found = {distribution}
        queue = [distribution]
        while queue:
            new = self._requires.get(queue.pop(), set()) - found
            found |= new
            queue.extend(new)
        return found


def _expanded(path: str, user: str) -> str:
    """A path with $ORIGIN, the folder of the library that names it, as one in the payload."""
    return posixpath.normpath(re.sub(r"\$ORIGIN|\$\{ORIGIN\}", posixpath.dirname(user), path))


def bundle_missing(
    payload: Payload, profile: RuntimeProfile, source: LibrarySource
) -> tuple[Payload, tuple[Bundled, ...]]:
    """The payload with the libraries that it and the runtime lack, in `lib/`, and theirs in turn.

    `source` gives a file for a soname. What it has not is left to `check_libraries`: a pass may
    yet remove who needs it.
    """
    libraries = _Libraries(payload, profile)
    bundled: list[Bundled] = []
    queue = list(libraries.read)
    absent: set[str] = set()
    while queue:
        user = queue.pop(0)
        for soname in libraries.read[user].needed:
            if soname in absent or libraries.find(soname, user) is not None:
                continue
            target = f"{LIBRARIES}/{soname}"
            installed = libraries.installed(soname)
            if installed is not None:
                entry = replace(payload[installed], path=target)
            elif file := next(filter(None, map(source, _names(soname))), None):
                entry = FileEntry.of(file, target, SYSTEM)
            else:
                absent.add(soname)
                continue
            libraries.add(entry)
            origin = entry.distribution if installed else ""
            bundled.append(Bundled(entry=entry, soname=soname, user=user, origin=origin))
            queue.append(entry.path)
    return payload.updated(add=[one.entry for one in bundled]), tuple(bundled)


def _names(soname: str) -> Iterator[str]:
    """A soname, and those of which it is a longer version: `libgomp.so.1.0.0`, `libgomp.so.1`."""
    yield soname
    while re.search(r"\.so\.\d+\.[\d.]+$", soname):
        soname = soname.rpartition(".")[0]
        yield soname


def too_new(file: Path, profile: RuntimeProfile) -> str:
    """What a library needs of the runtime that this has not, as a clause; empty where it has all,
    and for a file that is no library."""
    try:
        library = read_file(file)
    except ElfError:
        return ""
    problems = (
        problem
        for need in library.versions_needed
        if need.file in profile.libraries
        for problem in _unmet(need, profile)
    )
    return next(problems, "")


def unneeded(payload: Payload, profile: RuntimeProfile, bundled: Iterable[Bundled]) -> set[str]:
    """The paths of bundled libraries that nothing in the payload needs any more, but for those that
    the recipe names."""
    libraries = _Libraries(payload, profile)
    ours = {one.entry.path for one in bundled if one.user != ASKED} & libraries.read.keys()
    reached: set[str] = set()
    queue = list(libraries.read.keys() - ours)
    while queue:
        user = queue.pop()
        found = {libraries.find(soname, user) for soname in libraries.read[user].needed}
        new = (ours - reached) & found
        reached |= new
        queue.extend(new)
    return ours - reached


def check_libraries(
    payload: Payload,
    profile: RuntimeProfile,
    *,
    optional: frozenset[str] = frozenset(),
    bundling: bool = True,
    refused: Mapping[str, str] | None = None,
) -> Checked:
    """Hold every library against the payload and the runtime.

    Remarks are on each soname of `optional` that is missing, and on those that only extension
    modules lack. Raises VerificationError naming soname and user for what else is missing
    (`bundling` says which advice helps, `refused` why a copy of it was not taken), and file and
    version for what is too new for the runtime.
    """
    libraries = _Libraries(payload, profile)
    users: dict[str, list[str]] = {}
    remarks = []
    for user in sorted(libraries.read):
        for soname in libraries.read[user].needed:
            if libraries.find(soname, user) is None:
                if soname in optional:
                    remarks.append(f"{soname}, needed by {user}, is missing (optional)")
                else:
                    users.setdefault(soname, []).append(user)
    missing = {soname: found[0] for soname, found in users.items()}
    doubtful = {
        soname: found[0]
        for soname, found in users.items()
        if bundling and all(map(libraries.is_extension, found))
    }
    error = _missing(missing, profile, bundling, refused or {})
    if missing.keys() - doubtful.keys():
        raise error
    _check_versions(libraries)
    remarks += [
        f"{soname} is missing, which only extension modules need ({user}): they do not import"
        for soname, user in sorted(doubtful.items())
    ]
    return Checked(remarks=tuple(remarks), doubt=error if doubtful else None)


def _missing(
    missing: Mapping[str, str], profile: RuntimeProfile, bundling: bool, refused: Mapping[str, str]
) -> VerificationError:
    lines = [
        f"  {soname}, needed by {user}" + (f" ({refused[soname]})" if soname in refused else "")
        for soname, user in sorted(missing.items())
    ]
    names = ", ".join(sorted(missing))
    first = min({*missing} & {*refused} or {*missing}, default="")
    ways = (
        f"name a file or a wheel that has it (`system-libraries: {{{first}: FILE}}`), build in "
        "the runtime's own image (`--builder docker`)"
    )
    hint = "Set `system-libraries: auto` to bundle them."
    if bundling:
        begin = "Install them on this machine" if not {*missing} & {*refused} else "For a library"
        hint = (
            f"{begin}, {ways}; or, where the function does without, write "
            f"`system-libraries: {{optional: [{names}]}}`."
        )
    return VerificationError(
        f"{profile.runtime} on {profile.architecture} lacks shared libraries:\n" + _shown(lines),
        hint,
    )


def _shown(lines: list[str]) -> str:
    more = len(lines) - _MOST_SHOWN
    return "\n".join(lines[:_MOST_SHOWN] + ([f"  ... and {more} more"] if more > 0 else []))


def _check_versions(libraries: _Libraries) -> None:
    problems = [
        f"  {path} needs {problem}"
        for path in sorted(libraries.read)
        for problem in _too_new(path, libraries)
    ]
    if problems:
        profile = libraries.profile
        raise VerificationError(
            f"libraries are too new for {profile.runtime} on {profile.architecture} "
            f"({profile.system}):\n" + _shown(problems),
            "Choose versions with wheels for an older manylinux, or a newer runtime; for a file of "
            "`system-libraries`, one that was built on the runtime's system.",
        )


def _too_new(path: str, libraries: _Libraries) -> Iterator[str]:
    """What a library asks of another that this one does not define, as text."""
    for need in libraries.read[path].versions_needed:
        provider = libraries.find(need.file, path)
        if provider:
            defined = libraries.read[provider].versions_defined
            # A library without version definitions satisfies every version (ld.so warns only).
            for version in need.versions:
                if defined and version not in defined:
                    yield f"{version} of {need.file}, which {provider} does not define"
        elif provider == "":
            yield from _unmet(need, libraries.profile)


def _unmet(need: VersionNeed, profile: RuntimeProfile) -> Iterator[str]:
    """The versions of one of the runtime's libraries that this one does not have, as text."""
    for version in need.versions:
        family, wanted = _version(version)
        has = profile.versions.get(family)
        if has is not None and wanted > has:
            most = f"{family}_{'.'.join(map(str, has))}"
            yield f"{version} of {need.file}; the runtime has at most {most}"


def _version(text: str) -> tuple[str, tuple[int, ...]]:
    if text == _DT_RELR:
        return "GLIBC", (2, 36)
    match = _VERSION.match(text)
    return (match[1], version_tuple(match[2])) if match else ("", ())
