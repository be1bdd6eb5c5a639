"""Remove debug symbols from shared libraries and programs (see elf/strip.py for how).

Results are kept in the cache by the library's hash, so that a library is stripped once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layerpack import elf
from layerpack.elf.strip import STRIP_VERSION
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.payload import ASSETS, FileEntry, Payload, is_library_name
from layerpack.recipe import Recipe
from layerpack.units import key_of, sha256_bytes, sha256_file, write_bytes, write_text
from layerpack.workers import in_processes

# Below this much work, starting processes costs more than they save.
_WORTH_PROCESSES = 32 * 2**20


class Symbols:
    """Symbol tables, debug information and comments of libraries: all that is never loaded."""

    name: ClassVar[str] = "symbols"
    summary: ClassVar[str] = "debug symbols of shared libraries"
    after: ClassVar[frozenset[str]] = frozenset(
        {"tests", "docs", "spacy-languages", "runtime-provided", "duplicates"}
    )

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `strip.symbols: false` turns it off."""
        return recipe.strip.symbols

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Rewrite each library that becomes smaller; keep the others, with the reason."""
        jobs = [
            _Job.of(entry, context.cache / "symbols")
            for entry in payload
            if _may_be_elf(entry) and elf.is_elf(entry.source)
        ]
        _run([job for job in jobs if not job.done()], context)
        for job in jobs:
            yield job.edit()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One library, and where its stripped copy lies, with a note of its hash or of the refusal."""

    path: str
    size: int
    source: Path
    stripped: Path
    note: Path

    @classmethod
    def of(cls, entry: FileEntry, folder: Path) -> _Job:
        key = key_of("symbols", STRIP_VERSION, entry.sha256)
        return cls(
            path=entry.path,
            size=entry.size,
            source=entry.source,
            stripped=folder / f"{key}.so",
            note=folder / f"{key}.json",
        )

    def done(self) -> bool:
        """Whether the result is there and whole; a damaged one is made anew."""
        note = self._note()
        if note is None:
            return False
        if "refusal" in note:
            return True
        return self.stripped.is_file() and sha256_file(self.stripped) == note.get("sha256")

    def execute(self) -> None:
        result = elf.strip_file(self.source)
        if isinstance(result, elf.Refusal):
            write_text(self.note, json.dumps({"refusal": result.reason}))
        else:
            write_bytes(self.stripped, result)
            write_text(self.note, json.dumps({"sha256": sha256_bytes(result)}))

    def edit(self) -> Edit:
        note = self._note() or {}
        if "refusal" in note:
            return Keep(path=self.path, reason=note["refusal"])
        return Rewrite(path=self.path, source=self.stripped, reason="symbols removed")

    def _note(self) -> dict[str, str] | None:
        try:
            value = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None


def _may_be_elf(entry: FileEntry) -> bool:
    """Whether it is worth a look into the file. Assets are the user's own data."""
    if entry.path.startswith(f"{ASSETS}/"):
        return False
    return is_library_name(entry.path) or "." not in entry.path.rpartition("/")[2]


def _run(jobs: list[_Job], context: PassContext) -> None:
    # The largest first, so that no processor is left with it alone at the end.
    jobs = sorted(jobs, key=lambda job: -job.size)
    total = sum(job.size for job in jobs)
    done = 0
    for job in _executed(jobs, parallel=total > _WORTH_PROCESSES):
        done += job.size
        context.progress(done, total)


def _executed(jobs: list[_Job], *, parallel: bool) -> Iterator[_Job]:
    if parallel:
        with in_processes(_Job.execute, jobs) as completed:
            yield from completed
        return
    for job in jobs:
        job.execute()
        yield job
