"""Which of an engine's containers were left behind: those whose owner's lock is free.

An owner is a process that has a container engine make containers, and a locked folder in its cache.
The folder's name is the containers' label. The kernel lets go of the lock when the process ends,
however it ends; age tells nothing, nor do process numbers, as engines are shared. A label whose
folder is not there is another cache's, or another machine's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_ENGINE: Final = "engine"
#: Made when the owner's end was first seen.
_ENDED: Final = "ended"
# An engine may still be making what its owner asked for when that was killed.
_REMEMBERED_SECONDS: Final = 86400.0


class Owner:
    """This process, for the engine at an address; `parent` has the folders of all owners."""

    def __init__(self, parent: Path, address: str) -> None:
        self._parent, self._address = parent, address
        self.name = secrets.token_hex(32)
        #: Whether a container may be left behind, so that others must know of this owner.
        self.leaves = False
        folder = parent / self.name
        folder.mkdir(parents=True)
        self._lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (folder / _ENGINE).write_text(address, encoding="utf-8")

    @contextmanager
    def ended(self) -> Iterator[frozenset[str]]:
        """The names of owners of the same engine that have ended, which are locked meanwhile."""
        locks = {}
        try:
            for folder in self._parent.glob("*"):
                with suppress(OSError):
                    # One that was killed while it began has none yet, and no container.
                    if _engine_of(folder) in ("", self._address):
                        locks[folder] = _locked(folder)
            yield frozenset(folder.name for folder in locks)
            for folder in locks:
                _forget(folder)
        finally:
            for lock in locks.values():
                os.close(lock)

    def close(self) -> None:
        """It makes no more containers."""
        if not self.leaves:
            shutil.rmtree(self._parent / self.name, ignore_errors=True)
        os.close(self._lock)


def _engine_of(folder: Path) -> str:
    try:
        return (folder / _ENGINE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _forget(folder: Path) -> None:
    """Remove the folder of an owner that has ended, once that was seen long ago."""
    mark = folder / _ENDED
    with suppress(OSError):
        if not mark.exists():
            mark.touch()
        elif mark.stat().st_mtime < time.time() - _REMEMBERED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> int:
    """The lock of a folder. Raises OSError where its owner lives."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
