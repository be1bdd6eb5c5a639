"""Read-only data of packed libraries: compressed where the recipe says so, or where the layers
would not fit otherwise.

Code is brought in when it is touched; data as a whole, when its library is loaded. That takes time
at each start, and memory, so `native.data: auto` does it to as few libraries as the room asks for:
those that become smaller by most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from layerpack import elf
from layerpack.elf.copied import copied_names, defines_any
from layerpack.elf.data import data_gain
from layerpack.passes.api import PassContext
from layerpack.passes.paged_jobs import PackJob, run
from layerpack.payload import FileEntry

#: Bytes that a library must become smaller by for `auto`.
_LEAST_GAIN: Final = 64 * 1024
_COPIED: Final = "a program copies some of it before any code runs"
_NEEDED: Final = "the layers would not fit otherwise"


def asked_for(
    jobs: list[PackJob], files: Iterable[FileEntry], context: PassContext
) -> list[PackJob]:
    """The jobs, with their data where the recipe asks for it, and with the reason where it must
    stay as it is; `files` may be programs."""
    if context.recipe.native.data == "plain":
        return jobs
    copied = _copied(files)
    found = []
    for job in jobs:
        stays = copied and _defines(job, copied)
        wanted = context.recipe.native.data == "packed" and not stays
        found.append(replace(job, data=wanted, data_problem=_COPIED if stays else ""))
    return found


def where_room_asks(jobs: list[PackJob], context: PassContext, *, needed: int) -> list[PackJob]:
    """The jobs, which are done, and with `auto` those with data instead, and done, that it takes to
    leave `needed` bytes free, or all that are worth it."""
    short = needed - context.room - sum(job.size - job.stored_bytes for job in jobs)
    if context.recipe.native.data != "auto" or short <= 0:
        return jobs
    gains = {job.path: _gain(job) for job in jobs}
    best = sorted(jobs, key=lambda job: (-gains[job.path], job.path))
    chosen = {job.path: job for job in jobs}
    for job in best:
        if short <= 0 or gains[job.path] < _LEAST_GAIN:
            break
        smaller = replace(job, data=True, why_data=_NEEDED)
        run([smaller], context)
        saved = job.stored_bytes - smaller.stored_bytes
        if saved > 0:
            chosen[job.path] = smaller
            short -= saved
    return [chosen[job.path] for job in jobs]


def _copied(files: Iterable[FileEntry]) -> frozenset[bytes]:
    names: set[bytes] = set()
    for entry in files:
        if elf.is_elf(entry.source):
            try:
                names |= copied_names(entry.source)
            except elf.ElfError:
                # What cannot be read does not run either.
                continue
    return frozenset(names)


def _defines(job: PackJob, names: frozenset[bytes]) -> bool:
    try:
        return defines_any(job.source, names)
    except elf.ElfError:
        return True


def _gain(job: PackJob) -> int:
    source = job.input_file()
    if job.data_problem or source is None:
        return 0
    try:
        return data_gain(source)
    except elf.ElfError:
        return 0
