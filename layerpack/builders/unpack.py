"""Unpacking wheels into the cache, once a wheel, and the payload made of them.

pypa/installer does the unpacking (schemes, scripts, shebangs), from wheel_source.py. What could
write outside the folder or hide a link is refused before.
"""

from __future__ import annotations

import csv
import json
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from installer import install
from installer.exceptions import InstallerError

from layerpack.builders.api import WheelFile
from layerpack.builders.collisions import Collisions
from layerpack.builders.wheel_source import Destination, Source
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, ResolveError
from layerpack.payload import PYTHON, FileEntry, Payload
from layerpack.process import stop_if_ending
from layerpack.saved import parsed
from layerpack.units import folder_aside, key_of, sha256_file, sorted_walk, touch

# The layout of an unpacked wheel in the cache; raise it when the layout changes.
_LAYOUT = 3
_INDEX = "index.json"
# A member that claims more is no library but an attack on the disk; Lambda takes 250 MB in all.
_MEMBER_MAX = 4 * 2**30
# Console scripts start with the runtime's interpreter.
_INTERPRETER = "/var/lang/bin/python3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """A wheel's files below `files`, their (path, size, mode, sha256), and the number of members
    that its RECORD lacks, with the first one's name."""

    files: Path
    index: tuple[tuple[str, int, int, str], ...]
    unlisted: tuple[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class LaidOut:
    """The payload of all wheels, with `warnings`, and `notes` that only matter to the curious."""

    payload: Payload
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def unpack(wheel: WheelFile, cache: Cache) -> Unpacked:
    """Unpack a wheel into the cache, or find it there.

    Raises ResolveError for a wheel that is damaged or not safe to unpack.
    """
    home = cache.folder("unpacked") / f"{wheel.sha256}-{_LAYOUT}"
    # Looked for first: what another build puts there meanwhile is not damaged.
    is_there = home.exists()
    found = _kept(home)
    if found is not None and not _is_of(wheel.path, found):
        found = None
    if found is None:
        check_members(wheel.path)
        if is_there:
            shutil.rmtree(home, ignore_errors=True)
        with folder_aside(home, _INDEX) as folder:
            unlisted = _install(wheel.path, folder / "files")
            index = _index(folder / "files")
            text = json.dumps(
                {"key": key_of(index, unlisted), "files": index, "unlisted": unlisted}
            )
            (folder / _INDEX).write_text(text, encoding="utf-8")
        found = _kept(home)
    if found is None:
        raise BuildToolError(f"{home} vanished during the build", "Build again.")
    return found


@dataclass(frozen=True, slots=True)
class _Index:
    """What `index.json` has: the files, what RECORD lacks (see Unpacked), and a key of both."""

    key: str
    files: list[tuple[str, int, int, str]]
    unlisted: tuple[int, str]


def _kept(home: Path) -> Unpacked | None:
    """What is unpacked there; None where anything of it is gone, or not as it was.

    Every file is hashed: passes and patches make of them what no hash of the build would tell.
    """
    files = home / "files"
    try:
        kept = parsed(_Index, (home / _INDEX).read_bytes())
        if kept.key != key_of(kept.files, kept.unlisted):
            return None
        for path, size, _, digest in kept.files:
            if path.startswith("/") or ".." in path.split("/"):
                return None
            if (files / path).stat().st_size != size or _hash(files / path) != digest:
                return None
    except (OSError, ValueError):
        return None
    touch(home)
    return Unpacked(files=files, index=tuple(kept.files), unlisted=kept.unlisted)


def _is_of(wheel: Path, kept: Unpacked) -> bool:
    """Whether what is unpacked is what the wheel holds: its note lies beside it, and may have been
    changed as it was. The wheel's own hash is known, and its directory has those of its members."""
    try:
        with Source.open(wheel) as source:
            placed = source.placed
    except (*_MALFORMED, OSError):
        return False
    if {path for path, *_ in kept.index} != placed.keys():
        return False
    return all(
        (content := placed[path]) is None or content == (size, _crc(kept.files / path))
        for path, size, *_ in kept.index
    )


def _crc(path: Path) -> int:
    """A file's CRC-32."""
    stop_if_ending()
    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc


def payload_of(
    wheels: Sequence[WheelFile],
    cache: Cache,
    runtime: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LaidOut:
    """The payload of all wheels, as a plain install would lay them out.

    Distributions go to `python/`; where one brings a `.pth` file, to
    `python/lib/python3.X/site-packages/`, because Lambda runs such files only there.
    Raises ResolveError for a wheel that cannot be unpacked.
    """
    # Two at a time: inflating and hashing release the interpreter lock.
    with ThreadPoolExecutor(2) as pool:
        unpacked = []
        for done, one in enumerate(pool.map(lambda wheel: unpack(wheel, cache), wheels), start=1):
            unpacked.append(one)
            progress(done, len(wheels))
    has_pth = any(
        path.endswith(".pth") and "/" not in path for one in unpacked for path, *_ in one.index
    )
    site = f"{PYTHON}/lib/{runtime}/site-packages" if has_pth else PYTHON
    entries: dict[str, FileEntry] = {}
    collisions = Collisions()
    notes = []
    for wheel, one in zip(wheels, unpacked, strict=True):
        count, first = one.unlisted
        if count:
            which = f"{first}); it is" if count == 1 else f"{first}, ...); they are"
            notes.append(
                f"{wheel.path.name}: its RECORD lacks {count} of its files ({which} installed, as "
                "pip does"
            )
        for path, size, mode, digest in one.index:
            entry = FileEntry(
                path=f"{site}/{path}",
                size=size,
                mode=mode,
                sha256=digest,
                distribution=wheel.name,
                source=one.files / path,
            )
            other = entries.setdefault(entry.path, entry)
            if other.sha256 != digest:
                entries[entry.path] = collisions.stays(other, entry, path)
    return LaidOut(
        payload=Payload(entries.values(), site=site),
        warnings=collisions.warnings,
        notes=(*notes, *collisions.notes),
    )


def check_members(path: Path) -> None:
    """Refuse a wheel that is damaged, or has a member that would not stay in its folder.

    Raises ResolveError naming the wheel and the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ResolveError(f"{path.name} is damaged: {error}", _DAMAGED) from None
    seen: set[str] = set()
    for member in members:
        name = member.filename
        problem = _problem(member, name, seen)
        if problem:
            raise ResolveError(
                f"{path.name} is not safe to unpack: its member '{name}' {problem}",
                "No sound build tool makes such a wheel. Do not use it.",
            )
        seen.add(name)


_DAMAGED = "Remove it from the cache or the index, and build again."


def _problem(member: zipfile.ZipInfo, name: str, seen: set[str]) -> str:
    """What is wrong with a member, as the end of a sentence; empty where nothing is."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    checks = (
        (
            name.startswith("/") or "\\" in name or "\0" in name or name[1:2] == ":",
            "has an absolute or foreign path",
        ),
        (".." in PurePosixPath(name).parts, "leads out of its folder"),
        (kind == stat.S_IFLNK, "is a symbolic link"),
        (kind not in (0, stat.S_IFREG, stat.S_IFDIR), "is neither a file nor a folder"),
        (name in seen, "stands there twice"),
        (member.file_size > _MEMBER_MAX, f"claims {member.file_size} bytes"),
    )
    return next((problem for bad, problem in checks if bad), "")


def _install(path: Path, root: Path) -> tuple[int, str]:
    """Install a wheel into a new folder; returns the number of members that RECORD lacks, with the
    first one's name."""
    root.mkdir()
    try:
        with Source.open(path) as source:
            install(
                source=source,
                destination=Destination.at(root, _INTERPRETER),
                additional_metadata={},
            )
            unlisted = source.unlisted
    except FileExistsError as error:
        raise ResolveError(f"{path.name} has two members for one path: {error}") from None
    except _MALFORMED as error:
        raise ResolveError(f"{path.name} is damaged: {error}", _DAMAGED) from None
    return len(unlisted), unlisted[0] if unlisted else ""


# The errors of zipfile and installer for malformed wheels. An encrypted member is a RuntimeError,
# an unknown compression a NotImplementedError, which is one too.
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, InstallerError),
    *(EOFError, ValueError, KeyError, RuntimeError),
)


def _index(root: Path) -> Iterable[tuple[str, int, int, str]]:
    index = []
    for path in sorted_walk(root):
        status = (root / path).stat()
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        index.append((path.as_posix(), status.st_size, mode, _hash(root / path)))
    return index


def _hash(path: Path) -> str:
    stop_if_ending()
    return sha256_file(path)
