"""A build's folder: replaced as a whole, never half; known to be fresh or not by a key.

One build at a time works on a folder (a lock beside it); a reader sees the former build until the
new one is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from layerpack.errors import UsageError
from layerpack.units import sha256_file, write_text

_STATE = ".state.json"
#: What was published from the folder: no part of the build, so it outlives it.
RECEIPT: Final = "publish.json"


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """The folder `build/<name>` at `path`."""

    path: Path

    @contextmanager
    def locked(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the folder against other builds, and mend what a killed one left.

        `on_wait` is told when another build has it. Raises UsageError where the path cannot be
        built in.
        """
        with self._held(on_wait):
            self._check()
            self._mend()
            yield

    @contextmanager
    def published(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a build that is there against builds, without a thought of replacing it."""
        with self._held(on_wait):
            self._mend()
            yield

    @contextmanager
    def _held(self, on_wait: Callable[[], None]) -> Iterator[None]:
        path = self._beside("lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Where it cannot be made, FileLock would wait for ever.
            path.open("ab").close()
        except FileNotFoundError:
            # /proc and the like answer so.
            raise UsageError(
                f"{self.path}: no folder can be made there", "Choose another --output."
            ) from None
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _mend(self) -> None:
        former = self._former
        if former.is_dir():
            # A build died between its two renames: the former build is still whole.
            if self.path.exists():
                shutil.rmtree(former, ignore_errors=True)
            else:
                former.rename(self.path.resolve())

    def _check(self) -> None:
        if self.path.is_dir():
            # Not the manifest alone: web pages and browser extensions have one of that name too.
            names = {entry.name for entry in self.path.iterdir()}
            if names and not {"manifest.json", _STATE} <= names:
                raise UsageError(
                    f"{self.path} holds other things than a build, and would be replaced",
                    "Choose another --output, or remove the folder.",
                )
        elif self.path.exists():
            raise UsageError(f"{self.path} is not a folder", "Choose another --output.")

    def is_fresh(self, key: str) -> bool:
        """Whether the folder holds the build of `key`, whole: every file has its hash."""
        try:
            state = json.loads((self.path / _STATE).read_text(encoding="utf-8"))
            return bool(state["key"] == key) and all(
                sha256_file(self.path / name) == digest for name, digest in state["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def image(self) -> str:
        """The image that the build here was made in; empty for this machine, or without a build."""
        try:
            text = (self.path / "manifest.json").read_text(encoding="utf-8")
            return str(json.loads(text)["tools"].get("image", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ""

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        """Give an empty folder beside this one; on success it takes this one's place."""
        aside = self._beside("new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            yield aside
            files = {
                path.relative_to(aside).as_posix(): sha256_file(path)
                for path in sorted(aside.rglob("*"))
                if path.is_file()
            }
            files.pop(RECEIPT, None)
            write_text(aside / _STATE, json.dumps({"key": key, "files": files}))
            if (self.path / RECEIPT).is_file():
                shutil.copyfile(self.path / RECEIPT, aside / RECEIPT)
            place, former = self.path.resolve(), self._former
            if place.exists():
                place.rename(former)
            aside.rename(place)
            shutil.rmtree(former, ignore_errors=True)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def amending(self) -> Iterator[Path]:
        """Give a copy of this folder to change, which takes its place on success; its key stays."""
        key = json.loads((self.path / _STATE).read_text(encoding="utf-8"))["key"]
        with self.replacing(key) as aside:
            # What is changed in it is written aside and renamed, so that links do.
            shutil.copytree(self.path, aside, dirs_exist_ok=True, copy_function=os.link)
            (aside / _STATE).unlink()
            (aside / RECEIPT).unlink(missing_ok=True)
            yield aside

    @property
    def _former(self) -> Path:
        return self._beside("former")

    def _beside(self, kind: str) -> Path:
        # Resolved, for `--output .` and for a link to a folder.
        absolute = self.path.resolve()
        return absolute.with_name(f".{absolute.name}.{kind}")
