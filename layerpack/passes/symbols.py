"""Remove debug symbols from shared libraries and programs (see elf/strip.py for how).

Results are kept in the cache by the library's hash, so that a library is stripped once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layerpack import elf
from layerpack.elf.strip import STRIP_VERSION
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.payload import ASSETS, FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.units import key_of, write_bytes, write_text

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
    """One library, and where its stripped copy, or the refusal, is kept."""

    path: str
    size: int
    source: Path
    stripped: Path
    refusal: Path

    @classmethod
    def of(cls, entry: FileEntry, folder: Path) -> _Job:
        key = key_of("symbols", STRIP_VERSION, entry.sha256)
        return cls(
            path=entry.path,
            size=entry.size,
            source=entry.source,
            stripped=folder / f"{key}.so",
            refusal=folder / f"{key}.json",
        )

    def done(self) -> bool:
        return self.stripped.exists() or self.refusal.exists()

    def execute(self) -> None:
        result = elf.strip_file(self.source)
        if isinstance(result, elf.Refusal):
            write_text(self.refusal, json.dumps(result.reason))
        else:
            write_bytes(self.stripped, result)

    def edit(self) -> Edit:
        if self.stripped.exists():
            return Rewrite(path=self.path, source=self.stripped, reason="symbols removed")
        return Keep(path=self.path, reason=json.loads(self.refusal.read_text(encoding="utf-8")))


def _may_be_elf(entry: FileEntry) -> bool:
    """Whether it is worth a look into the file. Assets are the user's own data."""
    if entry.path.startswith(f"{ASSETS}/"):
        return False
    name = entry.path.rpartition("/")[2]
    return name.endswith(".so") or ".so." in name or "." not in name


def _run(jobs: list[_Job], context: PassContext) -> None:
    # The largest first, so that no processor is left with it alone at the end.
    jobs = sorted(jobs, key=lambda job: -job.size)
    total = sum(job.size for job in jobs)
    done = 0
    for job in _executed(jobs, parallel=total > _WORTH_PROCESSES):
        done += job.size
        context.progress(done, total)


def _executed(jobs: list[_Job], *, parallel: bool) -> Iterator[_Job]:
    if not parallel:
        for job in jobs:
            job.execute()
            yield job
        return
    # A fork would copy locks that other threads (the progress bar's) may hold.
    context = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        futures = {pool.submit(job.execute): job for job in jobs}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
