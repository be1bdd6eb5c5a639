"""Where a library's functions and data lie, as readelf tells it of one that is not stripped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.libraries import readelf


@dataclass(frozen=True, kw_only=True, slots=True)
class Symbol:
    """Memory from `start` up to `end`."""

    start: int
    end: int


def symbols(path: Path) -> dict[str, Symbol]:
    """All symbols that are defined, by name, local ones among them."""
    found = {}
    for line in readelf(path, "--syms").splitlines():
        # Number, value, size, type, binding, visibility, section, name.
        row = line.split()
        if len(row) == 8 and row[0].rstrip(":").isdigit() and row[6] not in ("UND", "ABS"):
            start = int(row[1], 16)
            # Large sizes are written in hexadecimal.
            found[row[7]] = Symbol(start=start, end=start + int(row[2], 0))
    return found
