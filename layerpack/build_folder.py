"""A build's folder: replaced as a whole, never half; known to be fresh or not by a key.

One build at a time works on a folder (a lock beside it); a reader sees the former build until the
new one is complete.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.errors import UsageError
from layerpack.saved import parsed
from layerpack.units import FORMER, LOCK, NEW, name_place, sha256_file, sorted_walk, write_text
from layerpack.user_paths import output_error

_STATE = ".state.json"
#: What was published from the folder: no part of the build, so it outlives it.
RECEIPT: Final = "publish.json"
#: What a build may have beside its layers.
_OWN: Final = frozenset(
    {
        *(_STATE, RECEIPT, "manifest.json", "files.json"),
        *("answers.json", "report.html", "function.zip"),
    }
)


@dataclass(frozen=True, slots=True)
class _State:
    """A build's key, and its files with their SHA-256."""

    key: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """The folder `build/<name>` at `path`."""

    path: Path

    @contextmanager
    def locked(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the folder against other builds, and mend what a killed one left.

        `on_wait` is called when another build holds it. Raises UsageError where the path cannot be
        built in.
        """
        # Before as well: a folder that is refused gets no lock beside it.
        self.check()
        with self._held(on_wait):
            self.check()
            self._mend()
            yield

    @contextmanager
    def published(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a build that is there against builds, without a thought of replacing it."""
        with self._held(on_wait, "folder"):
            self._mend()
            yield

    @contextmanager
    def _held(self, on_wait: Callable[[], None], option: str = "--output") -> Iterator[None]:
        path = self._beside(LOCK)
        made = [folder for folder in path.parents if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _locked(path, on_wait)
        except OSError as error:
            raise output_error(self.path, error, option) from None
        try:
            yield
        finally:
            # Who waits for it finds that it is gone, and makes it anew.
            path.unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)
            # Where nothing was built in them.
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()

    def _mend(self) -> None:
        former = self._former
        if former.is_dir():
            # A build died between its two renames: the former build is still whole.
            if self.path.exists():
                self._remove_former()
            else:
                former.rename(self._place)

    def check(self) -> None:
        """Raise UsageError where no build may be written: its folder is replaced as a whole."""
        place = self._place
        try:
            if os.path.ismount(place):
                raise UsageError(
                    f"{self.path} is the root of a file system, which a build cannot replace",
                    f"Choose a folder in it: --output {self.path / 'NAME'}",
                )
            if Path.cwd().is_relative_to(os.path.realpath(place)):
                raise UsageError(
                    f"{self.path} is the current folder, or holds it, and would be replaced",
                    "Choose a folder in it, such as --output build/NAME.",
                )
            if place.is_dir():
                # Not the manifest alone: web pages and browser extensions have one of that name.
                names = {entry.name for entry in place.iterdir()}
                if names and not {"manifest.json", _STATE} <= names:
                    raise UsageError(
                        f"{self.path} holds other things than a build, and would be replaced",
                        "Choose another --output.",
                    )
                if others := _others(place):
                    raise self._foreign(others[0])
            elif place.exists() or place.is_symlink():
                raise UsageError(f"{self.path} is not a folder", "Choose another --output.")
            # Before anything is resolved and built, rather than after.
            above = next(folder for folder in place.parents if os.path.lexists(folder))
            try:
                # It has no name, so nothing is left of it.
                tempfile.TemporaryFile(dir=above).close()
            except OSError as error:
                error.filename = str(above)
                raise
        except OSError as error:
            raise output_error(self.path, error) from None

    def _foreign(self, name: str) -> UsageError:
        return UsageError(
            f"{self.path / name} is not part of the build, and would be lost",
            "Move it elsewhere, or choose another --output.",
        )

    def is_fresh(self, key: str) -> bool:
        """Whether the folder holds the build of `key`, whole: every file has its hash."""
        state = _state(self.path)
        try:
            return (
                state is not None
                and state.key == key
                and all(
                    sha256_file(self.path / name) == digest for name, digest in state.files.items()
                )
            )
        except (OSError, ValueError):
            return False

    @property
    def lacking(self) -> str:
        """The name of a file that every build has, and that is not here; empty where there is a
        build."""
        names = ("manifest.json", _STATE)
        return next((name for name in names if not (self.path / name).is_file()), "")

    def image(self) -> str:
        """The image that the build here was made in; empty for this machine, or without a build."""
        try:
            text = (self.path / "manifest.json").read_text(encoding="utf-8")
            return str(json.loads(text)["tools"].get("image", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ""

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        """Give an empty folder beside this one; on success it takes this one's place.

        Raises UsageError where this one holds a file by then that no build put there.
        """
        aside = self._beside(NEW)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
        except OSError as error:
            raise output_error(self.path, error) from None
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
            # A build takes minutes, in which a user may have put a file there.
            self.check()
            place, former = self._place, self._former
            try:
                if place.exists():
                    place.rename(former)
                    if others := _others(former):
                        # It came between the look and the rename.
                        former.rename(place)
                        raise self._foreign(others[0])
                aside.rename(place)
            except OSError as error:
                raise output_error(self.path, error) from None
            self._remove_former()
        except OSError as error:
            name_place(error, aside / _STATE)
            # Nobody knows its name.
            if str(error.filename2 or error.filename).startswith(f"{aside}{os.sep}"):
                raise output_error(self.path, error) from None
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def amending(self) -> Iterator[Path]:
        """Give a copy of this folder to change, which takes its place on success; its key stays."""
        state = _state(self.path)
        if state is None:
            raise UsageError(f"{self.path / _STATE} is damaged", "Build the recipe again.")
        with self.replacing(state.key) as aside:
            # What is changed in it is written aside and renamed, so that links do.
            shutil.copytree(self.path, aside, dirs_exist_ok=True, copy_function=os.link)
            (aside / _STATE).unlink()
            (aside / RECEIPT).unlink(missing_ok=True)
            yield aside

    def _remove_former(self) -> None:
        """Remove the former build, file by file: a program that works in it may still put one
        there. Raises UsageError for such a file, which stays."""
        former = self._former
        _remove_own(former)
        if others := _others(former):
            raise UsageError(
                f"{former / others[0]} was put into the build that {self.path} replaced, and is "
                "kept; the build is complete",
                f"Move it elsewhere, and remove {former}.",
            )

    @property
    def _former(self) -> Path:
        return self._beside(FORMER)

    @property
    def _place(self) -> Path:
        # Resolved, for `--output .` and for a link to a folder; one that leads to itself stays.
        return Path(os.path.realpath(self.path))

    def _beside(self, kind: str) -> Path:
        return self._place.with_name(f".{self._place.name}.{kind}")


def _state(folder: Path) -> _State | None:
    """The state that a build saved in its folder; None where there is none, or it is damaged."""
    try:
        return parsed(_State, (folder / _STATE).read_bytes())
    except (OSError, ValueError):
        return None


def _own(folder: Path) -> Callable[[Path], bool]:
    """Tells which paths in a build's folder may go: its own files.

    Where its state does not tell which these are, those that have the names that builds give.
    """
    state = _state(folder)

    def is_own(path: Path) -> bool:
        name = path.as_posix()
        if path.name == ".DS_Store" or name in (_STATE, RECEIPT):
            return True
        if state is not None:
            return name in state.files
        return name in _OWN or (path.parent == Path("layers") and path.suffix == ".zip")

    return is_own


def _others(folder: Path) -> list[str]:
    """The files in a build's folder that no build put there."""
    is_own = _own(folder)
    return [path.as_posix() for path in sorted_walk(folder) if not is_own(path)]


def _remove_own(folder: Path) -> None:
    """Remove a build, and of its folder what is empty then."""
    found = filter(_own(folder), sorted_walk(folder))
    # The state last: after a kill the rest is known by it.
    for path in sorted(found, key=lambda path: path.as_posix() == _STATE):
        with suppress(OSError):
            (folder / path).unlink()
    for name, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(name).rmdir()


def _locked(path: Path, on_wait: Callable[[], None]) -> int:
    """A lock (flock(2)) on the file at `path`, which whoever holds it removes before releasing it;
    `on_wait` is called once where another process holds it."""
    waits = False
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            # Its folder went with a build that failed.
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    on_wait()
                waits = True
                fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        # The one who held it removed it, and another may have made it anew.
        os.close(lock)
