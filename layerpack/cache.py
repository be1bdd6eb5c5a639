"""Where results are kept by content, shared by all recipes.

Every entry is written aside and renamed, under a name that is a key of its content or of all that
it was made from. So parallel builds may share the cache, a kill leaves it whole, and removing any
part of it between builds costs time and nothing else.

The folder is marked as layerpack's own; in one that is not, nothing is written or removed. Whoever
uses it holds a shared lock on it, and what removes entries takes the lock alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs

from layerpack.errors import BuildToolError, UsageError
from layerpack.scratch import ScratchFolder, sweep
from layerpack.units import ASIDE, key_of, read_checked, write_checked, write_text

#: The kinds of results; each has a folder of that name.
KINDS: Final = (
    *("wheels", "choices", "unpacked", "patched", "downloads", "assets", "libraries"),
    *("image-libraries", "passes", "deflated", "licences", "runtime", "unzipped", "plain"),
    *("logs", "scratch", "owners"),
)
_MARKER: Final = "layerpack-cache.json"
_FORMAT: Final = 1
_LOCK: Final = "layerpack-cache.lock"
# https://bford.info/cachedir/: backups leave out what has it.
_TAG: Final = "CACHEDIR.TAG"
_TAG_TEXT: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A cache of layerpack: `layerpack cache clear` empties it.\n"
    "# For cache directory tags, see https://bford.info/cachedir/\n"
)
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_HINT: Final = "Choose another with --cache-dir or LAYERPACK_CACHE_DIR."


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache below `root`."""

    root: Path

    @classmethod
    def at(cls, root: Path | None = None) -> Cache:
        """The cache in a folder (`~` is a home); without one, in the platform's place for caches.

        Raises UsageError for a name that no folder has.
        """
        # A shell expands no quoted `~`.
        if root is not None:
            try:
                root = root.expanduser()
            except RuntimeError:
                raise UsageError(f"the cache folder {root} names no user's home", _HINT) from None
            if not str(root).strip():
                raise UsageError("the name of the cache folder is blank", _HINT)
        # Absolute, as sandboxes and programs in other folders are given paths in it.
        return cls((root or Path(platformdirs.user_cache_dir("layerpack"))).absolute())

    def check(self) -> bool:
        """Whether there is a cache. Raises UsageError for a folder that is something else."""
        found = _format(self.root)
        if found == _FORMAT:
            return True
        if found:
            raise UsageError(
                f"the cache {self.root} has format {found}, and this layerpack reads {_FORMAT}",
                _HINT,
            )
        try:
            if not stat.S_ISDIR(self.root.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            is_ours = _is_ours(self.root)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UsageError(
                f"the cache folder {self.root} cannot be used: {error.strerror}", _HINT
            ) from None
        if is_ours:
            return False
        if _format(self.root) == _FORMAT:
            # Another layerpack has marked it meanwhile, and begun to use it.
            return True
        raise UsageError(f"{self.root} is not empty, and not a cache of layerpack", _HINT)

    def make(self) -> None:
        """Make its folder, and mark it. Raises UsageError where that cannot be, or where the folder
        holds anything else."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the cache folder {self.root} cannot be made: {error.strerror}", _HINT
            ) from None
        if not self.check():
            write_text(self.root / _TAG, _TAG_TEXT)
            write_text(self.root / _MARKER, json.dumps({"format": _FORMAT}) + "\n")

    @contextmanager
    def opened(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Use the cache: until the end nothing is removed from it but by its owner's hand.

        `on_wait` is called while another layerpack removes entries. Raises UsageError as `make`
        does, and BuildToolError where the cache, or a part of it, was removed meanwhile.
        """
        self.make()
        with self._lock() as lock:
            if _try(lock, fcntl.LOCK_EX):
                # Nobody else is at work, so what was not finished never will be.
                self._sweep()
            if not _try(lock, fcntl.LOCK_SH):
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_SH)
            try:
                yield
            except Exception as error:
                if lost := self._lost(lock, error):
                    raise BuildToolError(
                        f"{lost} was removed while layerpack used it", "Run the command again."
                    ) from error
                raise

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the cache against all others; gives false where another layerpack uses it."""
        self.make()
        with self._lock() as lock:
            yield _try(lock, fcntl.LOCK_EX)

    @contextmanager
    def holding(self, *paths: Path) -> Iterator[None]:
        """Keep the entries that `paths` are in from removal, also while the cache is not open."""
        held = []
        try:
            for path in paths:
                held.append(os.open(self._entry(path), os.O_RDONLY))
                with suppress(OSError):
                    fcntl.flock(held[-1], fcntl.LOCK_SH)
            yield
        finally:
            for descriptor in held:
                os.close(descriptor)

    def folder(self, kind: str) -> Path:
        """The folder for one kind of result (one of KINDS)."""
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of result")
        if _format(self.root) != _FORMAT:
            self.make()
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work in progress, on the cache's file system, gone afterwards."""
        parent = self.folder("scratch")
        sweep(ASIDE, parent)
        with ScratchFolder(ASIDE, parent) as folder:
            yield Path(folder.name)

    def read_note(self, kind: str, *parts: Any) -> Any | None:
        """A small JSON value kept under a key of `parts`; None where there is none."""
        return read_checked(self._note(kind, parts))

    def write_note(self, value: Any, kind: str, *parts: Any) -> None:
        """Keep a small JSON value under a key of `parts`."""
        write_checked(self._note(kind, parts), value)

    def forget(self, path: Path) -> None:
        """Remove the entry that `path` is part of; paths outside the cache are left alone."""
        if path.is_relative_to(self.root):
            entry = self._entry(path)
            if entry.is_dir() and entry.parent.name != "passes":
                shutil.rmtree(entry, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _note(self, kind: str, parts: tuple[Any, ...]) -> Path:
        return self.folder(kind) / f"{key_of(*parts)}.json"

    def _entry(self, path: Path) -> Path:
        kind, name = path.relative_to(self.root).parts[:2]
        return self.root / kind / name

    @contextmanager
    def _lock(self) -> Iterator[int]:
        lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield lock
        finally:
            os.close(lock)

    def _lost(self, lock: int, error: Exception) -> str:
        """What of the cache was removed, where that is what an error comes from."""
        try:
            if not os.path.samestat((self.root / _LOCK).stat(), os.fstat(lock)):
                return f"the cache {self.root}"
        except OSError:
            return f"the cache {self.root}"
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ESTALE, None):
            # `shutil` gives a list of what it could not copy.
            root = self.root.absolute()
            for name in (error.filename, error.filename2, *_copies(error)):
                if isinstance(name, str) and Path(name).absolute().is_relative_to(root):
                    return f"{name}, a part of the cache,"
        return ""

    def _sweep(self) -> None:
        """Remove what killed builds left half written; the caller holds the cache alone."""
        for kind in KINDS:
            for entry in entries(self.root / kind):
                if entry.name.startswith(ASIDE):
                    remove_entry(entry)


def cache_above(path: Path) -> Path | None:
    """The cache that a path is in; None where it is in none."""
    return next((one for one in path.absolute().parents if _format(one)), None)


def entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """The files and folders below a kind's folder that live and die as one, each of them named by a
    key, or by ASIDE while it is being made; none where there is no folder."""
    try:
        found = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in found:
        is_one = _KEY.search(entry.name) or entry.name.startswith(ASIDE)
        if is_one or not entry.is_dir(follow_symlinks=False):
            yield entry
        else:
            yield from entries(entry.path)


def remove_entry(entry: os.DirEntry[str]) -> bool:
    """Remove an entry, unless another process holds it; the caller holds the cache alone."""
    if not entry.is_dir(follow_symlinks=False):
        Path(entry.path).unlink(missing_ok=True)
        return True
    held = os.open(entry.path, os.O_RDONLY)
    try:
        if not _try(held, fcntl.LOCK_EX):
            return False
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(held)
    return True


def _try(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EBADF):
            raise
        return False
    return True


def _format(root: Path) -> int:
    """The format that a cache's marker tells; 0 where there is none."""
    try:
        return int(json.loads((root / _MARKER).read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _is_ours(root: Path) -> bool:
    """Whether a folder without a marker is empty, or holds only what layerpack puts into a cache:
    before it marked caches, or another that is just about to."""
    kinds = set()
    for entry in os.scandir(root):
        if entry.name in (_MARKER, _LOCK) or entry.name.startswith(ASIDE):
            continue
        if entry.name == _TAG and _is_tagged(root):
            continue
        if entry.name not in KINDS or not entry.is_dir(follow_symlinks=False):
            return False
        has_others = any(
            not _KEY.search(one.name) and not one.name.startswith(ASIDE)
            for one in entries(entry.path)
        )
        if has_others and entry.name not in ("logs", "scratch"):
            return False
        kinds.add(entry.name)
    # Folders called `downloads` or `wheels` are everywhere, and so are names with a hash in them:
    # every build since the first has made these two.
    return not kinds or {"choices", "unpacked"} <= kinds


def _is_tagged(root: Path) -> bool:
    """Whether the tag is layerpack's: other tools' caches have one of that name."""
    try:
        return (root / _TAG).read_bytes() == _TAG_TEXT.encode()
    except FileNotFoundError:
        return False


def _copies(error: OSError) -> list[Any]:
    """The paths that shutil.Error tells of."""
    if not isinstance(error, shutil.Error) or not isinstance(error.args[0], list):
        return []
    return [name for row in error.args[0] for name in row[:2]]
