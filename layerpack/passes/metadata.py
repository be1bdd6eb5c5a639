"""Leave out the metadata that nothing reads at run time, and console scripts.

What stays works: `version()`, `metadata()` and `requires()` read METADATA (PKG-INFO and
requires.txt in an egg-info), `entry_points()` reads entry_points.txt, `packages_distributions()`
reads top_level.txt. The last reads RECORD where there is no top_level.txt, so there one is
written: a line in place of a list of every file. `files()` reads RECORD and gives None, as it is
documented to, where there is none; its list would be wrong anyway, after other passes.
(https://docs.python.org/3/library/importlib.metadata.html; the files are those of PEP 376, 610,
627 and 770, and of setuptools.)

Files that are not listed here stay: nobody knows who reads them (pbr reads its pbr.json).
Licences are gathered into one file a layer; `licence_files` says which they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack.passes import folders
from layerpack.passes.api import Add, Edit, Keep, PassContext, Remove
from layerpack.passes.code import Code
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.units import keep_by_content

#: Written by installers for installers, or by setuptools for itself.
_UNREAD = {
    "INSTALLER": "names the installer",
    "REQUESTED": "tells an installer that it was asked for",
    "RECORD": "lists files for an uninstaller",
    "RECORD.jws": "signs RECORD",
    "RECORD.p7s": "signs RECORD",
    "WHEEL": "tells an installer how to unpack",
    "direct_url.json": "tells an installer the origin",
    "uv_cache.json": "tells an installer the origin",
    "uv_build.json": "tells an installer the origin",
    "zip-safe": "a mark of setuptools",
    "not-zip-safe": "a mark of setuptools",
    "dependency_links.txt": "for easy_install",
    "installed-files.txt": "lists files for an uninstaller",
    "SOURCES.txt": "lists the source archive",
}
_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)
_LICENCE_FOLDERS = frozenset({"licenses", "licences", "license_files"})
#: Their code names metadata files to install with, or is the reader described above.
_INSTALLERS = frozenset(
    {
        "build",
        "distlib",
        "importlib-metadata",
        "installer",
        "packaging",
        "pip",
        "setuptools",
        "uv",
        "wheel",
    }
)
_FILES = re.compile(rb"\bmetadata\s*\.\s*files\(|\bdistribution\([^()]*\)\s*\.\s*files\b")
_READERS_FOLDERS = frozenset({"_importlib_metadata", "importlib_metadata", "_vendor", "_distutils"})


class Metadata:
    """Files of `*.dist-info` for installers, licence files (gathered), console scripts."""

    name: ClassVar[str] = "metadata"
    summary: ClassVar[str] = "metadata that nothing reads, licences gathered, console scripts"
    after: ClassVar[frozenset[str]] = frozenset({"tests", "runtime-provided"})

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.metadata: false` turns it off."""
        return recipe.strip.metadata

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove what no one reads, and add what `packages_distributions()` then needs."""
        readers = _readers(payload)
        for entry in payload:
            inside = payload.in_site(entry.path)
            if inside is None:
                continue
            top, _, rest = inside.partition("/")
            if folders.is_metadata(top) and rest:
                yield from _plan_metadata(payload, entry, rest, readers, context)
            elif _is_scripts(payload, top) and "/" not in rest:
                yield from _plan_script(entry)


def licence_files(payload: Payload) -> dict[str, tuple[FileEntry, ...]]:
    """Distribution -> its licence texts among the metadata: what this pass removes as such."""
    found: dict[str, list[FileEntry]] = {}
    for entry in payload:
        top, _, rest = (payload.in_site(entry.path) or "").partition("/")
        if folders.is_metadata(top) and _is_licence(rest):
            found.setdefault(entry.distribution, []).append(entry)
    return {name: tuple(entries) for name, entries in sorted(found.items())}


def _is_licence(rest: str) -> bool:
    folder, slash, _ = rest.partition("/")
    if slash and folder.lower() in _LICENCE_FOLDERS:
        return True
    return _LICENCE.match(rest) is not None


def _plan_metadata(
    payload: Payload, entry: FileEntry, rest: str, readers: dict[str, str], context: PassContext
) -> Iterator[Edit]:
    if _is_licence(rest):
        yield Remove(path=entry.path, reason="goes to licenses/")
    elif rest.startswith("sboms/"):
        yield Remove(path=entry.path, reason="a bill of materials for scanners")
    elif rest in readers and rest in _UNREAD:
        yield Keep(path=entry.path, reason=f"{readers[rest]} names it")
    elif rest in _UNREAD:
        yield Remove(path=entry.path, reason=_UNREAD[rest])
        if rest == "RECORD":
            yield from _top_level(payload, entry, context)


def _top_level(payload: Payload, record: FileEntry, context: PassContext) -> Iterator[Edit]:
    """Write the top_level.txt that `packages_distributions()` reads in RECORD's absence."""
    path = record.path.removesuffix("RECORD") + "top_level.txt"
    names = _top_level_names(payload, record.distribution)
    if path in payload or not names:
        return
    data = "".join(f"{name}\n" for name in names).encode()
    file = keep_by_content(context.cache / "metadata", data)
    yield Add(
        entry=FileEntry.of(file, path, record.distribution),
        reason="names its packages, in place of RECORD",
    )


def _top_level_names(payload: Payload, distribution: str) -> list[str]:
    """The importable names of a distribution, as importlib.metadata infers them from RECORD."""
    names = set()
    for entry in payload:
        inside = payload.in_site(entry.path)
        if inside is None or entry.distribution != distribution:
            continue
        top, _, rest = inside.partition("/")
        name = top if rest else top.partition(".")[0]
        if _is_scripts(payload, top):
            continue
        if name.isidentifier() and (rest or top.endswith((".py", ".so", ".pyc"))):
            names.add(name)
    return sorted(names)


def _readers(payload: Payload) -> dict[str, str]:
    """Metadata file -> a module of the payload that names it in a string."""
    found: dict[str, str] = {}
    code = Code(payload)
    names = {name.encode(): name for name in _UNREAD}
    pattern = re.compile(rb"""["'](?:%s)["']""" % b"|".join(map(re.escape, names)))
    for entry in code.sources:
        parts = entry.path.split("/")
        if entry.distribution in _INSTALLERS or _READERS_FOLDERS.intersection(parts):
            continue
        data = entry.source.read_bytes()
        if b"metadata" not in data and b"dist-info" not in data and b"dist_info" not in data:
            # A lexer may know the word RECORD; a reader of metadata says where it looks.
            continue
        for match in pattern.findall(data):
            found.setdefault(names[match[1:-1]], payload.in_site(entry.path) or entry.path)
        if _FILES.search(data):
            found.setdefault("RECORD", payload.in_site(entry.path) or entry.path)
    return found


def _is_scripts(payload: Payload, top: str) -> bool:
    """Whether a top-level folder is where installers put scripts, and not a package."""
    return top == "bin" and f"{payload.site}/bin/__init__.py" not in payload


def _plan_script(entry: FileEntry) -> Iterator[Edit]:
    """Console scripts go: nothing in a layer starts them, and their first line names a machine.

    A package may look for a program there (uv and ruff do), so programs stay.
    """
    with entry.source.open("rb") as stream:
        is_script = stream.read(2) == b"#!"
    if is_script:
        yield Remove(path=entry.path, reason="console script")
    else:
        yield Keep(path=entry.path, reason="a program that its package may look for")
