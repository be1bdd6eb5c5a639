"""What is left out of a library, as found; findings take long, and are kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from layerpack.elf.drops import NO_DROPS, Drops
from layerpack.elf.drops_json import from_json, to_json
from layerpack.manifest import PartRecord
from layerpack.units import key_of, read_checked, write_checked

#: Version of the cached JSON.
_VERSION: Final = 2
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """What goes of one library, and its parts with what each costs.

    `reason` says why nothing goes, where that is not the recipe's wish; `variant_bytes` of code go
    for processors' sake, which is known once all reasons are put together, and so is not kept.
    """

    drops: Drops = NO_DROPS
    parts: tuple[PartRecord, ...] = ()
    reason: str = ""
    variant_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """A value that `json` writes."""
        return {
            "drops": to_json(self.drops),
            "parts": [asdict(part) for part in self.parts],
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reduction:
        """What `to_json` made."""
        return cls(
            drops=from_json(value["drops"]),
            parts=tuple(
                PartRecord(**{**part, "aliases": tuple(part["aliases"])}) for part in value["parts"]
            ),
            reason=value["reason"],
        )


def kept(
    folder: Path,
    kind: str,
    parts: Iterable[Any],
    make: Callable[[], dict[str, Any]],
    read: Callable[[dict[str, Any]], ValueT],
) -> ValueT:
    """What `read` makes of what `make` gives, or gave for equal `parts` before; `kind` begins the
    file's name.

    A file that cannot be read is made anew. Raises what `make` does.
    """
    path = folder / f"{kind}-{key_of(kind, _VERSION, *parts)}.json"
    value = read_checked(path)
    if value is None:
        made = make()
        write_checked(path, made)
        # As JSON has it, the same the first time as later.
        value = json.loads(json.dumps(made))
    return read(value)
