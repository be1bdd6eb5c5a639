"""What bringing code in takes, by library: from what the pager writes with LAYERPACK_TIMINGS.

A line for each window (elf/pager/trace.c): the SHA-256 of what was packed, the window's number, its
bytes, those of its frame, its runs, the nanoseconds that all of it took, and those of decoding. A
block of data is told as a window.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack import elf
from layerpack.elf.format import PT_LAYERPACK
from layerpack.elf.read import map_file
from layerpack.payload import is_library_name

#: The variable, and a file that reaches whoever started the function in a sandbox.
VARIABLES: Final = {"LAYERPACK_TIMINGS": "/dev/stderr"}
_WINDOW: Final = re.compile(r"^([0-9a-f]{64})((?: \d+){6})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PagingTime:
    """Windows of a library (`path` in the layers) that were brought in: how many, their bytes in
    memory and in the file, milliseconds, and how many of these decoding took."""

    path: str
    windows: int = 0
    bytes: int = 0
    packed_bytes: int = 0
    ms: float = 0.0
    decoding_ms: float = 0.0


def paging_times(text: str, opt: Path) -> tuple[PagingTime, ...]:
    """What the libraries below `opt` took by the lines in `text`, the longest first."""
    sums: dict[str, list[int]] = {}
    for digest, numbers in _WINDOW.findall(text):
        _, raw, size, _, whole, decoding = map(int, numbers.split())
        row = (1, raw, size, whole, decoding)
        sums[digest] = [a + b for a, b in zip(sums.get(digest, [0] * 5), row, strict=True)]
    paths = _packed(opt) if sums else {}
    found = (
        PagingTime(
            path=paths.get(digest, digest),
            windows=windows,
            bytes=raw,
            packed_bytes=size,
            ms=round(whole / 1e6, 2),
            decoding_ms=round(decoding / 1e6, 2),
        )
        for digest, (windows, raw, size, whole, decoding) in sums.items()
    )
    return tuple(sorted(found, key=lambda one: (-one.ms, one.path)))


def _packed(opt: Path) -> dict[str, str]:
    """SHA-256 of what was packed -> path below `opt`, of all packed libraries."""
    found = {}
    for path in sorted(opt.rglob("*")):
        name = path.relative_to(opt).as_posix()
        if not is_library_name(name) or not path.is_file() or not elf.is_elf(path):
            continue
        view = map_file(path)
        for one in elf.read(view).segments:
            if one.type == PT_LAYERPACK:
                index = elf.read_index(view[one.offset : one.offset + one.filesz])
                found[index.source.hex()] = name
    return found
