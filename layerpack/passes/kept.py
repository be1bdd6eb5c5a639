"""A file that a pass made, kept in the cache by a key of all that it was made from.

Beside it lies a note: its SHA-256 and what its maker told of it, or why there is none. So a result
that was damaged or half written is known as such, and made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from layerpack.elf import Refusal
from layerpack.units import ASIDE, read_checked, sha256_file, touch, write_checked


@dataclass(frozen=True, slots=True)
class KeptFile:
    """The result at `file`, and its note beside it (`.json`)."""

    file: Path

    def note(self) -> dict[str, Any] | None:
        """`sha256` and what the maker told, or `refusal`; None where there is no result yet."""
        value = read_checked(self._note)
        return value if isinstance(value, dict) else None

    def is_whole(self) -> bool:
        """Whether the result is there as it was made, or is a refusal."""
        note = self.note()
        if note is None:
            return False
        if "refusal" in note:
            return True
        if not self.file.is_file() or sha256_file(self.file) != note.get("sha256"):
            return False
        touch(self.file)
        return True

    def make(
        self, work: Callable[[Path], Mapping[str, Any] | Refusal], *, name: str = "made"
    ) -> None:
        """Have `work(path)` write the file (called `name`) and tell of it, or refuse."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=ASIDE, dir=self.file.parent) as scratch:
            made = Path(scratch) / name
            told = work(made)
            if isinstance(told, Refusal):
                note: dict[str, Any] = {"refusal": told.reason}
            else:
                note = {**told, "sha256": sha256_file(made)}
                made.chmod(0o644)
                made.replace(self.file)
        write_checked(self._note, note)

    @property
    def _note(self) -> Path:
        return self.file.with_suffix(".json")
