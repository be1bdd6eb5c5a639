"""Byte sizes, hashing, canonical JSON, the sorted walk, and the one way to write a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

#: What the name of everything begins with that is still being written: sweeps remove nothing else.
ASIDE: Final = ".layerpack-"
_OF_A_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: What may lie beside the folder of a build, as `.NAME.KIND`: its lock, the build that is being
#: written, and the one that it replaces.
LOCK, NEW, FORMER = BESIDE_BUILD = "lock", "layerpack-new", "layerpack-former"
_SEAL: Final = "seal"
_SIZE = re.compile(r"^\s*(\d{1,15}(?:\.\d+)?)\s*(B|KB|MB|GB|kB|KiB|MiB|GiB)?\s*$")
# Lambda's "250 MB" is 262,144,000 bytes: its MB is 2**20, and so is ours wherever a size is read.
_FACTOR = {"B": 1, "KB": 2**10, "kB": 2**10, "KiB": 2**10, "MB": 2**20, "MiB": 2**20}
_FACTOR |= {"GB": 2**30, "GiB": 2**30}
_DECIMAL = _FACTOR | {"KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9}


# `user:password@` or `token@` of an address, up to the last `@` before its path, as programs read
# it; where a password has a `/`, what stands for a port is none. A quote that JSON goes on after
# ends a text, so that JSON stays JSON.
_USER = re.compile(
    r"""(?<=://)(?:(?:[^/?\#\s"]|"(?![,:}\]]))*@
    |[^/?\#\s:@\[]+:(?!\d*(?:[/?\#\s"]|$))[^\s"]{0,500}@)""",
    re.VERBOSE,
)


def without_users(text: str) -> str:
    """The text, with `****@` for users and passwords in addresses."""
    return _USER.sub("****@", text)


def parse_size(text: str | int, *, decimal: bool = False) -> int:
    """Bytes for `5MB`, `512 KB`, `1.5GB` or a plain number of bytes; MB is 2**20, as Lambda counts,
    or 10**6 with `decimal`, as disks are measured.

    Raises ValueError with a message for the user.
    """
    if isinstance(text, int):
        return text
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"'{text}' is not a size; write bytes, or a number with KB, MB or GB")
    return int(float(match[1]) * (_DECIMAL if decimal else _FACTOR)[match[2] or "B"])


def human_size(count: int) -> str:
    """`count` bytes for a table: `980 B`, `12.3 kB`, `153.9 MB` (decimal, as file managers do)."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(count) >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def sha256_bytes(data: bytes | bytearray) -> str:
    """The SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, fit for a cache key."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(*parts: Any) -> str:
    """A cache key (hexadecimal SHA-256) of JSON-able parts."""
    return sha256_bytes(canonical_json(parts).encode())


def sorted_walk(root: Path) -> Iterator[Path]:
    """Every file below `root`, as paths relative to it, in one order on every machine.

    Symbolic links to files are given as files. Links to folders are given too, and not followed:
    who cannot take them sees that they are no files.
    """
    found: list[Path] = []
    for name, folders, files in os.walk(root):
        folder = Path(name)
        links = [one for one in folders if (folder / one).is_symlink()]
        found.extend((folder / one).relative_to(root) for one in (*files, *links))
    yield from sorted(found, key=lambda path: path.as_posix())


def name_place(error: BaseException, place: Path) -> None:
    """Have what a disk refuses tell at what file or folder: a write names none."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _OF_A_DISK:
        error.filename = str(place)


@contextlib.contextmanager
def write_aside(destination: Path) -> Iterator[Path]:
    """Give a new file's path beside `destination`; on success it takes `destination`'s place.

    After an error or a kill `destination` is as it was before.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=ASIDE, dir=destination.parent)
    except OSError as error:
        # Nobody knows the new file's name.
        error.filename = str(destination)
        raise
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o644)
        aside.replace(destination)
    except OSError as error:
        name_place(error, destination)
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_text(destination: Path, text: str) -> None:
    """Write a text file aside, then rename it into place."""
    with write_aside(destination) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(destination: Path, data: bytes) -> None:
    """Write a file aside, then rename it into place."""
    with write_aside(destination) as aside:
        aside.write_bytes(data)


def keep_by_content(folder: Path, data: bytes) -> Path:
    """The file in `folder` that is named after the SHA-256 of `data` and holds it."""
    digest = sha256_bytes(data)
    if (kept := kept_by_content(folder, digest)) is not None:
        return kept
    write_bytes(folder / digest, data)
    return folder / digest


def kept_by_content(folder: Path, digest: str) -> Path | None:
    """The file in `folder` with that name, and that SHA-256; None where there is none."""
    file = folder / digest
    if Path(digest).name != digest or not file.is_file() or sha256_file(file) != digest:
        return None
    touch(file)
    return file


def touch(path: Path) -> None:
    """Note that an entry of the cache is used, by its modification time: the longest unused ones
    are the first to go."""
    with contextlib.suppress(OSError):
        os.utime(path)


def write_checked(path: Path, value: Any) -> None:
    """Write a JSON value behind its SHA-256, aside, then renamed."""
    text = json.dumps(value, separators=(",", ":"))
    write_text(path, f"{sha256_bytes(text.encode())}\n{text}")


def read_checked(path: Path) -> Any | None:
    """The value that `write_checked` wrote; None where there is none, or it is damaged."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
        if digest != sha256_bytes(text.encode()):
            return None
        touch(path)
        return json.loads(text)
    except (OSError, ValueError):
        return None


def tree_hash(folder: Path, paths: Iterable[Path] | None = None, *, without: str = "") -> str:
    """A key of the paths and contents of the files at `paths` below `folder` (None: all of them),
    but for the one at `without`."""
    found = sorted_walk(folder) if paths is None else sorted(paths, key=Path.as_posix)
    return key_of(
        [
            (path.as_posix(), sha256_file(folder / path))
            for path in found
            if path.as_posix() != without
        ]
    )


def is_sealed(folder: Path) -> bool:
    """Whether a folder is there as `sealed_folder` made it: a cache may lose any file."""
    try:
        whole = (folder / _SEAL).read_text("utf-8") == tree_hash(folder, without=_SEAL)
    except (OSError, ValueError):
        return False
    touch(folder)
    return whole


@contextlib.contextmanager
def folder_aside(destination: Path, complete: str) -> Iterator[Path]:
    """Give a new folder beside `destination`; on success it is renamed to `destination`.

    `complete` is a file that a whole folder holds. Where such a folder stands there by then
    (another build made it, with the same content, as its name is a content key), the new one is
    dropped; one without that file was damaged, and is replaced.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=destination.parent))
    try:
        yield aside
        aside.chmod(0o755)
        if destination.exists() and not (destination / complete).exists():
            shutil.rmtree(destination)
        try:
            aside.rename(destination)
        except OSError:
            if not (destination / complete).exists():
                raise
    except OSError as error:
        name_place(error, destination)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def sealed_folder(destination: Path) -> Iterator[Path]:
    """Give a new folder (see folder_aside); on success it carries the hash of its content, and
    replaces `destination`, which was not as it was sealed."""
    # Another build may have put a whole one there by now.
    if destination.exists() and not is_sealed(destination):
        shutil.rmtree(destination, ignore_errors=True)
    with folder_aside(destination, _SEAL) as aside:
        yield aside
        (aside / _SEAL).write_text(tree_hash(aside, without=_SEAL), encoding="utf-8")


def odd_path(root: Path, *, links: bool = True) -> str:
    """What below `root` a layer cannot hold, as a phrase; empty where there is nothing such.

    Links to files stand for their content, unless `links` is false.
    """
    for path in sorted_walk(root):
        file = root / path
        try:
            shown = path.as_posix().encode().decode()
        except UnicodeEncodeError:
            return f"{path.as_posix()!r} has a name that is not UTF-8"
        if file.is_symlink() and not (links and file.is_file()):
            return f"{shown} is a link" + (" to a folder, or a dead one" if links else "")
        if not file.is_file():
            return f"{shown} is neither a file nor a folder"
    return ""


def python_files(root: Path) -> Iterator[Path]:
    """Every `.py` file below `root`, relative to it and sorted, except hidden folders, bytecode and
    installed packages (virtual environments, node_modules)."""
    found: list[Path] = []
    for name, folders, files in os.walk(root):
        folder = Path(name)
        folders[:] = [
            one
            for one in folders
            if not one.startswith(".")
            and one not in {"__pycache__", "node_modules", "site-packages"}
            and not (folder / one / "pyvenv.cfg").exists()
        ]
        found.extend((folder / one).relative_to(root) for one in files if one.endswith(".py"))
    yield from sorted(found)
