"""Remove debug symbols from shared libraries and programs (see elf/strip.py for how).

Results are kept in the cache by the library's hash, so that a library is stripped once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layerpack import elf
from layerpack.elf.strip import STRIP_VERSION
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.passes.kept import KeptFile
from layerpack.payload import ASSETS, FileEntry, Payload, is_library_name
from layerpack.recipe import Recipe
from layerpack.units import key_of
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
        _run([job for job in jobs if not job.stripped.is_whole()], context)
        for job in jobs:
            yield job.edit()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One library, and its stripped copy."""

    path: str
    size: int
    source: Path
    stripped: KeptFile

    @classmethod
    def of(cls, entry: FileEntry, folder: Path) -> _Job:
        key = key_of("symbols", STRIP_VERSION, entry.sha256)
        return cls(
            path=entry.path,
            size=entry.size,
            source=entry.source,
            stripped=KeptFile(folder / f"{key}.so"),
        )

    def execute(self) -> None:
        self.stripped.make(self._strip)

    def _strip(self, made: Path) -> dict[str, str] | elf.Refusal:
        result = elf.strip_file(self.source)
        if isinstance(result, elf.Refusal):
            return result
        made.write_bytes(result)
        return {}

    def edit(self) -> Edit:
        note = self.stripped.note() or {}
        if "refusal" in note:
            return Keep(path=self.path, reason=note["refusal"])
        return Rewrite(path=self.path, source=self.stripped.file, reason="symbols removed")


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
