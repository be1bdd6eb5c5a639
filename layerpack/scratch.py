"""Folders for work in progress that say by a lock whether their process still lives.

Neither age nor process numbers tell: a build may take a day, and containers that share a folder
number their processes apart. The kernel lets go of a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from layerpack.units import name_place

_LOCK: Final = "lock"


class ScratchFolder:
    """A new folder at `name`, in `parent` (default: the system's folder for temporary files).

    It is gone after `cleanup`; `sweep` removes it once its process has ended without.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self._outer = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
        outer = Path(self._outer.name)
        self._lock = -1
        try:
            # Locked before it has its name, so that no sweep sees it unlocked.
            self._lock = os.open(outer / "new", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (outer / "new").rename(outer / _LOCK)
            work = outer / "work"
            work.mkdir(0o700)
        except BaseException:
            self.cleanup()
            raise
        self.name = str(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            name_place(error, Path(self.name))
        self.cleanup()

    def cleanup(self) -> None:
        """Remove it."""
        try:
            self._outer.cleanup()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1


def sweep(prefix: str, parent: Path | None = None) -> None:
    """Remove the scratch folders with that prefix whose processes have ended."""
    for outer in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        try:
            lock = os.open(outer / _LOCK, os.O_RDWR)
        except OSError:
            # Just being made, or not a scratch folder.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(outer, ignore_errors=True)
        finally:
            os.close(lock)
