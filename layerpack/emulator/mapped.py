"""Which files the processes of a function execute code of, by /proc (proc(5), maps)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

_DELETED: Final = " (deleted)"


def mapped_files(processes: Iterable[int]) -> set[str]:
    """Programs and libraries that the processes have mapped as code."""
    found: set[str] = set()
    for one in processes:
        try:
            text = Path("/proc", str(one), "maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            # It ended meanwhile.
            continue
        files = executable_mappings(text)
        # Of bubblewrap's own processes nothing is the function's.
        if not any(file.endswith("/bwrap") for file in files):
            found |= files
    return found


def executable_mappings(text: str) -> set[str]:
    """The files that a process has mapped as code, by the text of its `maps`."""
    rows = (line.split(maxsplit=5) for line in text.splitlines())
    paths = {row[5] for row in rows if len(row) == 6 and "x" in row[1]}
    return {path.removesuffix(_DELETED) for path in paths if path.startswith("/")}
