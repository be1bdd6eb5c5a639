"""Drops as JSON, for a cache: finding out what goes takes long for a large library."""

from __future__ import annotations

from typing import Any

from layerpack.elf.drops import Dropped, Drops, Entry, Patch


def to_json(drops: Drops) -> dict[str, Any]:
    """A value that `json` writes; texts that repeat are stored once, by number."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    return {
        "dropped": [[x.start, x.end, x.name, number(x.hint)] for x in drops.dropped],
        "patches": [[x.vaddr, x.data.hex()] for x in drops.patches],
        "entries": [
            [x.vaddr, number(x.before), x.name, number(x.after), x.argument, x.steps]
            for x in drops.entries
        ],
        "thrower": drops.thrower,
        "needs": drops.needs,
        "needs_hint": drops.needs_hint,
        "probes": list(drops.probes),
        "cleared": [list(one) for one in drops.cleared],
        "laid": [[x.vaddr, x.data.hex()] for x in drops.laid],
        "texts": list(texts),
    }


def from_json(value: dict[str, Any]) -> Drops:
    """What `to_json` made. Raises KeyError, ValueError, TypeError or IndexError for another."""
    texts: list[str] = value["texts"]
    return Drops(
        dropped=tuple(
            Dropped(start=start, end=end, name=name, hint=texts[hint])
            for start, end, name, hint in value["dropped"]
        ),
        patches=tuple(Patch(vaddr=at, data=bytes.fromhex(x)) for at, x in value["patches"]),
        entries=tuple(
            Entry(
                vaddr=vaddr,
                before=texts[before],
                name=name,
                after=texts[after],
                argument=argument,
                steps=steps,
            )
            for vaddr, before, name, after, argument, steps in value["entries"]
        ),
        thrower=value["thrower"],
        needs=value["needs"],
        needs_hint=value["needs_hint"],
        probes=tuple(value["probes"]),
        laid=tuple(Patch(vaddr=at, data=bytes.fromhex(x)) for at, x in value["laid"]),
        cleared=tuple((start, end) for start, end in value["cleared"]),
    )
