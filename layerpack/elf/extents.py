"""Parts of a file or of memory, as their start and their end."""

from __future__ import annotations

from collections.abc import Iterator


def without(holes: list[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of `start` to `end` outside the sorted `holes`, which may overlap."""
    for first, last in holes:
        if last <= start or first >= end:
            continue
        if first > start:
            yield start, first
        start = last
    if start < end:
        yield start, end
