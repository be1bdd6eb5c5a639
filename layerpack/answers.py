"""`answers.json` in the build folder: what the layers answered to the recipe's workloads.

What runs elsewhere later (the published function) is held against it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from layerpack.errors import UsageError
from layerpack.saved import parsed
from layerpack.units import write_text

_FILE: Final = "answers.json"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A workload: its event, the answer, and that of a second invocation, all as JSON text."""

    name: str
    event: str
    answer: str
    again: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The answers that verification recorded; numbers may differ by `tolerance`, and fields that
    `ignore` names may differ at all (the recipe's; builds of older versions have none)."""

    tolerance: float
    workloads: tuple[Answered, ...]
    ignore: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Write them into a build folder (aside, then renamed)."""
        write_text(folder / _FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Answers | None:
        """Those of a build; None for one that was not verified, or has no workloads.

        Raises UsageError for a file that is damaged, or of another version of layerpack.
        """
        path = folder / _FILE
        try:
            found = parsed(cls, path.read_bytes())
            if found.schema_version != SCHEMA_VERSION:
                raise ValueError("of another version of layerpack")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be used: {error}", "Build the recipe again.") from None

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove those of a build."""
        (folder / _FILE).unlink(missing_ok=True)
