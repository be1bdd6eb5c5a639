"""Pages that a profile touched: which of them are mapped as they are, and how the others lie.

A run of pages that is moved into its place costs the kernel some 8 us, about as much as populating
five pages; one that the loader maps costs a program header. So a few pages between two that were
touched go with them.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from layerpack.elf.index import PAGE, Range, Run, pages_of

#: Untouched pages between touched ones that go with them.
_GAP_MAPPED: Final = 4
_GAP_DECODED: Final = 1
#: Segments that a library may get: unwinders before glibc 2.35 go through all for each frame.
_MOST_MAPPED: Final = 256


def gathered(ranges: tuple[Range, ...], hot: tuple[int, ...]) -> tuple[int, ...]:
    """Touched pages by address, with what goes with them: the order to compress them in."""
    return tuple(page for run in _runs(ranges, hot, _GAP_DECODED) for page in _pages(run))


def mapped(
    ranges: tuple[Range, ...], hot: tuple[int, ...]
) -> tuple[tuple[Range, ...], tuple[int, ...]]:
    """Leave the touched pages out of the ranges, as far as segments suffice: the rest of the
    ranges, and the other touched pages, by their numbers in these."""
    runs = _runs(ranges, hot, _GAP_MAPPED)
    touched = set(hot)
    best = sorted(runs, key=lambda run: -sum(page in touched for page in _pages(run)))
    gone = sorted(best[:_MOST_MAPPED], key=lambda run: run.page)
    left: list[Range] = []
    number = first = 0
    renumbered: dict[int, int] = {}
    for one in ranges:
        start = first
        for run in [*(r for r in gone if first <= r.page < first + one.pages), None]:
            end = run.page if run else first + one.pages
            if start < end:
                vaddr = one.vaddr + (start - first) * PAGE
                left.append(Range(vaddr=vaddr, pages=end - start, flags=one.flags))
                renumbered |= {p: number + p - start for p in range(start, end) if p in touched}
                number += end - start
            start = run.page + run.pages if run else end
        first += one.pages
    return tuple(left), tuple(renumbered[page] for page in hot if page in renumbered)


def _runs(ranges: tuple[Range, ...], pages: tuple[int, ...], gap: int) -> list[Run]:
    """Pages as runs, ascending, each in one range; gaps of at most `gap` pages are filled."""
    count = pages_of(ranges)
    if any(not 0 <= page < count for page in pages):
        raise ValueError(f"a hot page is not among the {count} pages")
    runs: list[Run] = []
    ends = iter(accumulate(one.pages for one in ranges))
    end = 0
    for page in sorted(pages):
        last = runs[-1] if runs else None
        if last is not None and page < end and page - last.page - last.pages <= gap:
            runs[-1] = Run(page=last.page, pages=page + 1 - last.page)
            continue
        while page >= end:
            end = next(ends)
        runs.append(Run(page=page, pages=1))
    return runs


def _pages(run: Run) -> range:
    return range(run.page, run.page + run.pages)
