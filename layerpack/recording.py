"""What a recipe's workloads touched of its paged libraries and imported, kept beside the lock.

A recording is an input of a build, as the lock is: two runs of one workload touch nearly, but not
exactly, the same pages, and builds of the same input must give the same bytes. So `build` records
once and writes `bert.pages` beside `bert.lock`; later builds read it, and it belongs in version
control. Its pages can make a build's code faster to start, never wrong: one that is not in it is
paged in like any other. Its operators decide what stays of MXNet (`mxnet.operators`), so that it is
made anew where a model or a module has changed.

Format, version 2: JSON, `{"version": 2, "key": ..., "libraries": {SHA-256: {"path": ...,
"pages": "12-15 99 3"}}, "imported": {"python/numpy": "__init__ version"}}`. A library is named by
the hash of what was packed; its pages stand in the order in which they were first touched,
neighbours as ranges. Imported modules are those with a source, by their folders in the layers.
Where a recipe keeps what its workloads run, `"operators": "FullyConnected softmax"` follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.errors import RecipeError
from layerpack.saved import parsed
from layerpack.units import write_text

_VERSION: Final = 2
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
#: A library of 16 GiB; more is no recording of ours.
_MOST_PAGES: Final = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryRecord:
    """The pages that were touched of one library (`path` in the layers), first touched first."""

    path: str
    pages: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """The touched pages by the SHA-256 of what was packed, and the sources of imported modules by
    their paths in the layers; `operators` are those of MXNet that ran, None where that was not
    asked; `key` is that of the workloads and of the function that ran."""

    key: str
    libraries: Mapping[str, LibraryRecord]
    imported: frozenset[str] = frozenset()
    operators: frozenset[str] | None = None

    @property
    def pages(self) -> dict[str, tuple[int, ...]]:
        """The pages alone."""
        return {digest: record.pages for digest, record in self.libraries.items()}

    def stale_reason(self, key: str, libraries: Iterable[str], *, operators: bool = False) -> str:
        """Why it does not hold for these workloads and libraries, or does not tell the `operators`
        that are asked for; empty where it does."""
        if self.key != key:
            return "the function or a workload has changed"
        if set(self.libraries) != set(libraries):
            return "the libraries have changed"
        if operators and self.operators is None:
            return "it does not tell which operators run"
        return ""

    def write(self, path: Path) -> None:
        """Write the file, a line a library or a folder."""
        write_text(path, self.text())

    def text(self) -> str:
        """The file's content."""
        rows = [
            f"    {json.dumps(digest)}: "
            + json.dumps({"path": record.path, "pages": " ".join(_ranges(record.pages))})
            for digest, record in sorted(self.libraries.items(), key=lambda item: item[1].path)
        ]
        folders: dict[str, list[str]] = {}
        for path in sorted(self.imported):
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, []).append(name.removesuffix(".py"))
        modules = [
            f"    {json.dumps(folder)}: {json.dumps(' '.join(names))}"
            for folder, names in sorted(folders.items())
        ]
        return (
            f'{{\n  "version": {_VERSION},\n  "key": {json.dumps(self.key)},\n'
            f'  "libraries": {_block(rows)},\n  "imported": {_block(modules)}'
            f"{self._operators()}\n}}\n"
        )

    def _operators(self) -> str:
        if self.operators is None:
            return ""
        return f',\n  "operators": {json.dumps(" ".join(sorted(self.operators)))}'

    @classmethod
    def read(cls, path: Path) -> Recording | None:
        """The recording in a file; None where there is none, or one of another version.

        Raises RecipeError for a file that is no recording: it was edited, or is another's.
        """
        try:
            text = path.read_bytes()
            if parsed(_Versioned, text).version != _VERSION:
                return None
            saved = parsed(_Saved, text)
            libraries = {
                digest: LibraryRecord(path=one.path, pages=tuple(_pages(one.pages)))
                for digest, one in saved.libraries.items()
            }
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _broken(path, str(error)) from None
        return cls(
            key=saved.key,
            libraries=libraries,
            imported=frozenset(
                f"{folder}/{name}.py"
                for folder, names in saved.imported.items()
                for name in names.split()
            ),
            operators=None if saved.operators is None else frozenset(saved.operators.split()),
        )


@dataclass(frozen=True, slots=True)
class _Versioned:
    version: int


@dataclass(frozen=True, slots=True)
class _SavedLibrary:
    path: str
    pages: str


@dataclass(frozen=True, slots=True)
class _Saved:
    """A recording as its file has it (see the format above)."""

    key: str
    libraries: dict[str, _SavedLibrary]
    imported: dict[str, str]
    operators: str | None = None


def _block(rows: Iterable[str]) -> str:
    """A JSON object of rows, or an empty one."""
    text = ",\n".join(rows)
    return f"{{\n{text}\n  }}" if text else "{}"


def _broken(path: Path, what: str) -> RecipeError:
    return RecipeError(
        f"{path} is not a recording of layerpack's: {what}",
        "Restore a damaged file, or move it away: the next build records again. If another tool "
        "wrote it, rename the recipe: a recording has the name of its recipe's file.",
    )


def _ranges(pages: Iterable[int]) -> Iterator[str]:
    """`[12, 13, 14, 99]` as `12-14 99`; the order stays."""
    first = last = None
    for page in pages:
        if first is not None and last is not None and page == last + 1:
            last = page
            continue
        if first is not None:
            yield str(first) if first == last else f"{first}-{last}"
        first = last = page
    if first is not None:
        yield str(first) if first == last else f"{first}-{last}"


def _pages(text: str) -> Iterator[int]:
    seen: set[int] = set()
    for word in text.split():
        match = _RANGE.fullmatch(word)
        if match is None:
            raise ValueError(f"'{word}' is not a range of pages")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last < _MOST_PAGES:
            raise ValueError(f"'{word}' is not a range of pages")
        for page in range(first, last + 1):
            if page not in seen:
                seen.add(page)
                yield page
