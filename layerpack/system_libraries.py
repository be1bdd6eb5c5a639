"""Closing a payload over the shared libraries that it needs, and holding it against the runtime.

A library is looked for as glibc's loader would on Lambda (ld.so(8)): along DT_RPATH or DT_RUNPATH
with $ORIGIN, then on LD_LIBRARY_PATH (the layers' `lib/`), then among what the runtime provides. Or
it is loaded already, under its soname, by the distribution itself or one that it depends on: so
packages open their libraries in order.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from layerpack.elf import ElfError, SharedObject, is_elf, read_file
from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile, version_tuple
from layerpack.payload import LIBRARIES, FileEntry, Payload, is_library_name

SYSTEM = "system"

_VERSION = re.compile(r"^(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)$")
# A name without a number: DT_RELR relocations, which glibc 2.36 was the first to read.
_DT_RELR = "GLIBC_ABI_DT_RELR"
_REQUIRES = re.compile(r"^Requires-Dist:\s*(.+)$", re.MULTILINE)
_MOST_SHOWN = 8

#: Gives a file for a soname, or None.
LibrarySource = Callable[[str], Path | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """A library that was added: its entry, its soname, and the path of its first user."""

    entry: FileEntry
    soname: str
    user: str


class _Libraries:
    """The payload's shared libraries, read once."""

    def __init__(self, payload: Payload, profile: RuntimeProfile) -> None:
        self.profile = profile
        self.read: dict[str, SharedObject] = {}
        self._owner: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        self._requires = _requirements(payload)
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
            raise VerificationError(f"{entry.path} is no sound library: {error}") from None
        if library.machine != self.profile.machine:
            return
        self.read[entry.path] = library
        self._owner[entry.path] = entry.distribution
        for name in {library.soname, posixpath.basename(entry.path)} - {None}:
            self._by_name.setdefault(str(name), []).append(entry.path)

    def find(self, soname: str, user: str) -> str | None:
        """The payload's path for what `user` needs; `""` when the runtime has it; None: missing."""
        library = self.read[user]
        for folder in (library.runpath or library.rpath or "").split(":"):
            if folder:
                origin = posixpath.dirname(user)
                expanded = re.sub(r"\$ORIGIN|\$\{ORIGIN\}", origin, folder)
                path = posixpath.normpath(posixpath.join(expanded, soname))
                if path in self.read:
                    return path
        if f"{LIBRARIES}/{soname}" in self.read:
            return f"{LIBRARIES}/{soname}"
        if soname in self.profile.libraries or soname.startswith("libpython3."):
            return ""
        near = self._closure(self._owner[user])
        return next((p for p in self._by_name.get(soname, ()) if self._owner[p] in near), None)

    def _closure(self, distribution: str) -> set[str]:
        """The distribution, and all that it depends on."""
        found = {distribution}
        queue = [distribution]
        while queue:
            new = self._requires.get(queue.pop(), set()) - found
            found |= new
            queue.extend(new)
        return found


def _requirements(payload: Payload) -> dict[str, set[str]]:
    """What each distribution's METADATA requires, by normalised name, whatever the markers."""
    found: dict[str, set[str]] = {}
    for entry in payload:
        if entry.path.endswith(".dist-info/METADATA"):
            text = entry.source.read_text(encoding="utf-8", errors="replace")
            for line in _REQUIRES.findall(text):
                try:
                    name = canonicalize_name(Requirement(line).name)
                except InvalidRequirement:
                    continue
                found.setdefault(entry.distribution, set()).add(str(name))
    return found


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
            file = source(soname)
            if file is None:
                absent.add(soname)
                continue
            entry = FileEntry.of(file, f"{LIBRARIES}/{soname}", SYSTEM)
            libraries.add(entry)
            bundled.append(Bundled(entry=entry, soname=soname, user=user))
            queue.append(entry.path)
    return payload.updated(add=[one.entry for one in bundled]), tuple(bundled)


def unneeded(payload: Payload, profile: RuntimeProfile, bundled: Iterable[Bundled]) -> set[str]:
    """The paths of bundled libraries that nothing in the payload needs any more."""
    libraries = _Libraries(payload, profile)
    ours = {one.entry.path for one in bundled} & libraries.read.keys()
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
) -> tuple[str, ...]:
    """Hold every library against the payload and the runtime.

    Returns a remark on each soname of `optional` that is missing. Raises VerificationError naming
    soname and user for what else is missing (`bundling` says which advice helps), and file and
    version for what is too new for the runtime.
    """
    libraries = _Libraries(payload, profile)
    missing: dict[str, str] = {}
    remarks = []
    for user in sorted(libraries.read):
        for soname in libraries.read[user].needed:
            if libraries.find(soname, user) is None:
                if soname in optional:
                    remarks.append(f"{soname}, needed by {user}, is missing (optional)")
                else:
                    missing.setdefault(soname, user)
    if missing:
        raise _missing(missing, profile, bundling)
    _check_versions(libraries)
    return tuple(remarks)


def _missing(missing: dict[str, str], profile: RuntimeProfile, bundling: bool) -> VerificationError:
    lines = [f"  {soname}, needed by {user}" for soname, user in sorted(missing.items())]
    names = ", ".join(sorted(missing))
    return VerificationError(
        f"{profile.runtime} on {profile.architecture} lacks shared libraries:\n" + _shown(lines),
        f"Install them on this machine; or, where the function never loads the user, write "
        f"`system-libraries: {{optional: [{names}]}}`."
        if bundling
        else "Set `system-libraries: auto` to bundle them.",
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
            "Choose versions with wheels for an older manylinux, or a newer runtime.",
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
            for version in need.versions:
                family, wanted = _version(version)
                has = libraries.profile.versions.get(family)
                if has is not None and wanted > has:
                    yield (
                        f"{version} of {need.file}; the runtime has at most "
                        f"{family}_{'.'.join(map(str, has))}"
                    )


def _version(text: str) -> tuple[str, tuple[int, ...]]:
    if text == _DT_RELR:
        return "GLIBC", (2, 36)
    match = _VERSION.match(text)
    return (match[1], version_tuple(match[2])) if match else ("", ())
