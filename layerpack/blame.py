"""Which pass, and which file, made a difference: found by applying less and less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from layerpack.payload import Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A pass, and the payload after it."""

    name: str
    payload: Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """The pass that breaks it, and the first file of its edits that does."""

    pass_name: str
    path: str


def find_cause(
    before: Payload, steps: Sequence[Step], breaks: Callable[[Payload], bool]
) -> Cause | None:
    """The first pass after which it `breaks`, and the file; None where the last payload does not,
    or the one `before` them does.

    A file is the last of those, in their order by path, that it takes for the pass to break it; of
    files that break it each by itself, the first.
    """
    if not steps or not breaks(steps[-1].payload) or breaks(before):
        return None
    payloads = [before, *(step.payload for step in steps)]
    # Whole before the one, broken after the other.
    low, high = 0, len(steps)
    while high - low > 1:
        middle = (low + high) // 2
        if breaks(payloads[middle]):
            high = middle
        else:
            low = middle
    return Cause(pass_name=steps[high - 1].name, path=_file(payloads[low], payloads[high], breaks))


def _file(before: Payload, after: Payload, breaks: Callable[[Payload], bool]) -> str:
    old = {entry.path: entry for entry in before}
    new = {entry.path: entry for entry in after}
    # What came in addition is there from the start: libraries that were rewritten may need it.
    base = before.updated(add=[new[path] for path in new.keys() - old.keys()])
    changed = sorted(path for path in old if old[path] != new.get(path))
    if not changed or breaks(base):
        return next(iter(sorted(new.keys() - old.keys())), "")
    low, high = 0, len(changed)
    while high - low > 1:
        middle = (low + high) // 2
        part = changed[:middle]
        mixed = base.updated(
            add=[new[path] for path in part if path in new],
            remove=[path for path in part if path not in new],
        )
        if breaks(mixed):
            high = middle
        else:
            low = middle
    return changed[high - 1]
