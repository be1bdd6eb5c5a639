"""How the code that the workloads touched is stored: as it is, for the loader to map, or compressed
with the rest.

Mapped, it costs the start no more than in a library that is not packed, and the layers the bytes
that compressing saves. So `native.touched: auto` maps it where the layers have room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from layerpack.passes.api import PassContext
from layerpack.passes.paged_jobs import PackJob, run


def stored(jobs: list[PackJob], context: PassContext, *, needed: int, least: int) -> list[PackJob]:
    """Do the jobs, and return them as they were done; `needed` bytes stay free of what is mapped.

    Where the room does not do for all, the libraries come first whose touched code takes least.
    Nothing is packed, and so nothing left out, where that saves no more than `least` bytes: if the
    recipe leaves something out, nothing is mapped then.
    """
    done = _by_room(jobs, context, needed)
    if _saved(done) > least or not any(job.drops for job in jobs):
        return done
    run(jobs, context)
    return jobs


def _by_room(jobs: list[PackJob], context: PassContext, needed: int) -> list[PackJob]:
    how = context.recipe.native.touched
    if how == "packed" or not context.recordings:
        run(jobs, context)
        return jobs
    mapped = [replace(job, mapped=True) for job in jobs]
    run(mapped, context)
    pairs = [_choice(*pair, how) for pair in zip(jobs, mapped, strict=True)]
    largest = [pair[1] for pair in pairs]
    run(largest, context)
    if context.room + _saved(largest) >= needed:
        return largest
    smallest = [pair[0] for pair in pairs]
    run(smallest, context)
    room = context.room + _saved(smallest) - needed
    chosen = {}
    for small, large in sorted(pairs, key=_more):
        room -= _more((small, large))
        chosen[small.path] = large if room >= 0 else small
    return [chosen[job.path] for job in jobs]


def _choice(packed: PackJob, mapped: PackJob, how: str) -> tuple[PackJob, PackJob]:
    """The jobs to choose from by the room: the one that stores less, and the other."""
    if not mapped.is_refused:
        return (mapped if how == "mapped" else packed), mapped
    # So much was touched that the rest is not worth packing. What the recipe leaves out goes only
    # from a library that is packed.
    return packed, (packed if packed.drops else mapped)


def _more(pair: tuple[PackJob, PackJob]) -> int:
    return pair[1].stored_bytes - pair[0].stored_bytes


def _saved(jobs: Iterable[PackJob]) -> int:
    return sum(job.size - job.stored_bytes for job in jobs)
