"""Closing a payload over the shared libraries that it needs, and holding it against the runtime.

A library is looked for as glibc's loader would on Lambda (ld.so(8)): along DT_RPATH or DT_RUNPATH
with $ORIGIN, then on LD_LIBRARY_PATH (the layers' `lib/`), then among what the runtime provides;
or it is loaded already, because another library of the payload with that soname was.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from layerpack.elf import ElfError, SharedObject, is_elf, read_file
from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile, version_tuple
from layerpack.payload import LIBRARIES, FileEntry, Payload

SYSTEM = "system"

_LIBRARY_NAME = re.compile(r"\.so(\.\d+)*$")
_VERSION = re.compile(r"^(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)$")
# A name without a number: DT_RELR relocations, which glibc 2.36 was the first to read.
_DT_RELR = "GLIBC_ABI_DT_RELR"
_MOST_SHOWN = 8

#: Gives a file for a soname, or None.
LibrarySource = Callable[[str], Path | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """A library that was added: its soname, the path of its first user, and where it came from."""

    soname: str
    user: str
    source: Path


class _Libraries:
    """The payload's shared libraries, read once."""

    def __init__(self, payload: Payload, profile: RuntimeProfile) -> None:
        self.profile = profile
        self.read: dict[str, SharedObject] = {}
        self.by_name: dict[str, str] = {}
        for entry in payload:
            if _LIBRARY_NAME.search(entry.path):
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
        for name in (library.soname, posixpath.basename(entry.path)):
            if name:
                self.by_name.setdefault(name, entry.path)

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
        return self.by_name.get(soname)


def close_over(
    payload: Payload, profile: RuntimeProfile, source: LibrarySource, *, bundle: bool
) -> tuple[Payload, tuple[Bundled, ...]]:
    """The payload with the libraries that it and the runtime lack, in `lib/`.

    `source` gives a file for a soname. With `bundle` false nothing is added. Raises
    VerificationError naming soname and user for what is missing, and file and version for what is
    too new for the runtime.
    """
    libraries = _Libraries(payload, profile)
    added: list[FileEntry] = []
    bundled: list[Bundled] = []
    queue = list(libraries.read)
    missing: dict[str, str] = {}
    while queue:
        user = queue.pop(0)
        for soname in libraries.read[user].needed:
            if libraries.find(soname, user) is not None or soname in missing:
                continue
            file = source(soname) if bundle else None
            if file is None:
                missing[soname] = user
                continue
            entry = FileEntry.of(file, f"{LIBRARIES}/{soname}", SYSTEM)
            libraries.add(entry)
            added.append(entry)
            bundled.append(Bundled(soname=soname, user=user, source=file))
            queue.append(entry.path)
    if missing:
        raise _missing(missing, profile, bundle)
    _check_versions(libraries)
    return payload.updated(add=added), tuple(bundled)


def _missing(missing: dict[str, str], profile: RuntimeProfile, bundle: bool) -> VerificationError:
    lines = [f"  {soname}, needed by {user}" for soname, user in sorted(missing.items())]
    hint = (
        "Install the library on this machine, or build on a system that has it."
        if bundle
        else "Set `system-libraries: auto` to bundle them."
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
            "Choose versions with wheels for an older manylinux, or a newer runtime.",
        )


def _too_new(path: str, libraries: _Libraries) -> Iterable[str]:
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
