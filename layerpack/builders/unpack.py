"""Unpacking wheels into the cache, once a wheel, and the payload made of them.

pypa/installer does the unpacking (schemes, scripts, shebangs). What could write outside the
folder or hide a link is refused before.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile as WheelSource

from layerpack.builders.api import WheelFile
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, ResolveError
from layerpack.payload import PYTHON, FileEntry, Payload
from layerpack.units import folder_aside, key_of, sha256_file, sorted_walk

# The layout of an unpacked wheel in the cache; raise it when the layout changes.
_LAYOUT = 2
_INDEX = "index.json"
# A member that claims more is no library but an attack on the disk; Lambda takes 250 MB in all.
_MEMBER_MAX = 4 * 2**30
# Console scripts start with the runtime's interpreter.
_INTERPRETER = "/var/lang/bin/python3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """A wheel's files below `files`, and their (path, size, mode, sha256)."""

    files: Path
    index: tuple[tuple[str, int, int, str], ...]


def unpack(wheel: WheelFile, cache: Cache) -> Unpacked:
    """Unpack a wheel into the cache, or find it there.

    Raises ResolveError for a wheel that is damaged or not safe to unpack.
    """
    home = cache.folder("unpacked") / f"{wheel.sha256}-{_LAYOUT}"
    found = _kept(home)
    if found is None:
        check_members(wheel.path)
        shutil.rmtree(home, ignore_errors=True)
        with folder_aside(home, _INDEX) as folder:
            _install(wheel.path, folder / "files")
            index = _index(folder / "files")
            text = json.dumps({"key": key_of(index), "files": index})
            (folder / _INDEX).write_text(text, encoding="utf-8")
        found = _kept(home)
    if found is None:
        raise BuildToolError(f"{home} vanished during the build", "Build again.")
    return found


def _kept(home: Path) -> Unpacked | None:
    """What is unpacked there; None where anything of it is gone, or not as it was.

    Every file is hashed: passes and patches make of them what no hash of the build would tell.
    """
    try:
        kept = json.loads((home / _INDEX).read_text(encoding="utf-8"))
        index = kept["files"]
        files = home / "files"
        if kept["key"] != key_of(index):
            return None
        if any(sha256_file(files / path) != digest for path, _, _, digest in index):
            return None
        return Unpacked(files=files, index=tuple((p, s, m, h) for p, s, m, h in index))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def payload_of(
    wheels: Sequence[WheelFile],
    cache: Cache,
    runtime: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Payload, tuple[str, ...]]:
    """The payload of all wheels, as a plain install would lay them out, and a line on each file
    that two of them bring by mistake (top-level `tests/`, README).

    Distributions go to `python/`; where one brings a `.pth` file, to
    `python/lib/python3.X/site-packages/`, because Lambda runs such files only there.
    Raises ResolveError where two distributions bring different files under one path.
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
    collisions = []
    for wheel, one in zip(wheels, unpacked, strict=True):
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
                both = f"{other.distribution} and {wheel.name} both bring {path}"
                if not _is_by_mistake(path):
                    raise ResolveError(
                        f"{both}, with different content",
                        "They cannot be installed together; leave one of them out.",
                    )
                collisions.append(f"{both}: the first one's stays")
    return Payload(entries.values(), site=site), tuple(collisions)


def _is_by_mistake(path: str) -> bool:
    """Whether a wheel holds a file at its top that only its project was to have, as many do."""
    first = path.partition("/")[0]
    return first in {"tests", "test", "docs", "doc", "examples", "benchmarks"} or bool(
        re.fullmatch(r"[A-Z_]+(\.(md|rst|txt))?", path)
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


def _install(path: Path, root: Path) -> None:
    root.mkdir()
    schemes = {name: str(root) for name in ("purelib", "platlib", "data")}
    schemes |= {"scripts": str(root / "bin"), "headers": str(root / "include")}
    destination = SchemeDictionaryDestination(
        scheme_dict=schemes, interpreter=_INTERPRETER, script_kind="posix"
    )
    try:
        with WheelSource.open(path) as source, warnings.catch_warnings():
            # Bytecode in a wheel is left out by installer, with a warning; so would our pass.
            warnings.simplefilter("ignore", RuntimeWarning)
            source.validate_record(validate_contents=False)
            install(source=source, destination=destination, additional_metadata={})
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError) as error:
        raise ResolveError(f"{path.name} is damaged: {_issue(error, path)}", _DAMAGED) from None
    except FileExistsError as error:
        raise ResolveError(f"{path.name} has two members for one path: {error}") from None


def _issue(error: Exception, path: Path) -> str:
    """What is wrong: installer lists every member that RECORD lacks; the first will do."""
    issues = getattr(error, "issues", None) or [str(error)]
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return str(issues[0]).replace(f"In {path}, ", "") + more


def _index(root: Path) -> Iterable[tuple[str, int, int, str]]:
    index = []
    for path in sorted_walk(root):
        status = (root / path).stat()
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        index.append((path.as_posix(), status.st_size, mode, sha256_file(root / path)))
    return index
