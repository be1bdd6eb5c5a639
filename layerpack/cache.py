"""Where results are kept by content, shared by all recipes.

Every entry is written aside and renamed, under a name that is a key of its content or of all that
it was made from. So parallel builds may share the cache, a kill leaves it whole, and removing any
part of it costs time and nothing else.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from layerpack.errors import UsageError
from layerpack.units import key_of, write_text

# A folder of scratch that is older than this was left by a killed build.
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache below `root`."""

    root: Path

    @classmethod
    def at(cls, root: Path | None = None) -> Cache:
        """The cache in a folder; without one, in the platform's place for caches."""
        return cls(root or Path(platformdirs.user_cache_dir("layerpack")))

    def make(self) -> None:
        """Make its folder. Raises UsageError where that cannot be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the cache folder {self.root} cannot be made: {error.strerror}",
                "Choose another with --cache-dir or LAYERPACK_CACHE_DIR.",
            ) from None

    def folder(self, kind: str) -> Path:
        """The folder for one kind of result (`wheels`, `unpacked`, `symbols`, ...)."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work in progress, on the cache's file system, gone afterwards."""
        parent = self.folder("scratch")
        self._sweep()
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def read_note(self, kind: str, *parts: Any) -> Any | None:
        """A small JSON value kept under a key of `parts`; None where there is none."""
        try:
            return json.loads((self.folder(kind) / f"{key_of(*parts)}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def write_note(self, value: Any, kind: str, *parts: Any) -> None:
        """Keep a small JSON value under a key of `parts`."""
        write_text(self.folder(kind) / f"{key_of(*parts)}.json", json.dumps(value))

    def forget(self, path: Path) -> None:
        """Remove the entry that `path` is part of; paths outside the cache are left alone."""
        if path.is_relative_to(self.root):
            kind, name = path.relative_to(self.root).parts[:2]
            entry = self.root / kind / name
            if entry.is_dir() and kind != "passes":
                shutil.rmtree(entry, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed builds left: scratch, and files and folders written aside."""
        limit = time.time() - _STALE_SECONDS
        asides = (f"{'*/' * depth}.*" for depth in (1, 2, 3))
        left = [path for pattern in ("scratch/*", *asides) for path in self.root.glob(pattern)]
        for path in left:
            try:
                if path.lstat().st_mtime >= limit:
                    continue
            except FileNotFoundError:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
