"""The recording that paged libraries are arranged by: read where it holds, made where it does not.

It is to the pages of libraries what the lock is to versions, and lies beside it (recording.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from layerpack.cache import Cache
from layerpack.events import Events
from layerpack.limits import this_machine
from layerpack.passes.api import PassContext
from layerpack.passes.paged import pack_for_recording, packing_inputs, run_operators
from layerpack.payload import Payload
from layerpack.recipe import Recipe
from layerpack.recording import Recording
from layerpack.workload import Outcome, network_hint, record, workloads_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Arranged:
    """The recording to build with, None where there is none; `settled` unless another build, not
    `locked` or with workloads that answer, would make a better one."""

    recording: Recording | None
    settled: bool = True


def current_recording(
    payload: Payload,
    context: PassContext,
    *,
    locked: bool,
    cache: Cache,
    events: Events,
    provided: Callable[[], Path | None] = lambda: None,
) -> Arranged:
    """The recording for a payload that is about to be paged.

    `provided` gives the folder of the packages that the runtime brings, where it can be had.

    One that no longer holds is made anew, and written beside the recipe, unless a workload fails.
    Where none can be made (another architecture, no interpreter, `locked`), the old one serves:
    what it says of unchanged libraries still helps, and the rest is ignored.
    """
    recipe = context.recipe
    if not recipe.workloads or not context.function:
        return Arranged(recording=None)
    libraries = packing_inputs(payload, context)
    if not libraries:
        return Arranged(recording=None)
    path = recipe.recording_path
    former = Recording.read(path)
    reason = _stale_reason(former, payload, context, libraries)
    if not reason:
        return Arranged(recording=former)
    if locked or (obstacle := _obstacle(context)):
        why = "--locked keeps it" if locked else obstacle
        events.note(f"the recording {path} does not hold ({reason}), and {why}")
        return Arranged(recording=former, settled=not locked)
    if former is not None:
        events.warn(f"{path} is stale ({reason}): recording again")
    events.step("running the workloads, to arrange what they touch")
    with cache.scratch() as scratch:
        recording, outcomes = record(
            recipe,
            pack_for_recording(payload, context),
            context.function,
            interpreter=context.interpreter or Path(),
            libraries=libraries,
            scratch=scratch,
            provided=provided() if _uses_provided(context) else None,
            operators_of=lambda probes: run_operators(payload, context, probes),
            warn=events.warn,
        )
    settled = _all_answered(outcomes, recipe, events)
    if settled:
        _write(recording, path, events)
    return Arranged(recording=recording, settled=settled)


def _stale_reason(
    former: Recording | None, payload: Payload, context: PassContext, libraries: Mapping[str, str]
) -> str:
    """Why a recording does not hold for what is about to be paged; empty where it does."""
    if former is None:
        return "there is none"
    key = workloads_key(context.recipe, context.function, payload)
    return former.stale_reason(key, libraries, operators=context.recipe.mxnet.records)


def _all_answered(outcomes: Sequence[Outcome], recipe: Recipe, events: Events) -> bool:
    """Whether no workload failed; warns of each that did."""
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        hint = network_hint(recipe, outcome.error)
        events.warn(
            f"workload {outcome.name}: {outcome.error} (this build arranges what it touched until "
            f"then; the next one tries again). {hint}".strip()
        )
    return not failed


def _write(recording: Recording, path: Path, events: Events) -> None:
    try:
        recording.write(path)
    except OSError as error:
        # It makes a build faster to start; without the file it only has to be made again.
        events.warn(f"{path} cannot be written ({error.strerror}): the next build records again")
    else:
        events.note(f"wrote {path}")


def _uses_provided(context: PassContext) -> bool:
    """Whether the function may import what the runtime brings, such as boto3."""
    if context.recipe.strip.runtime_provided:
        return True
    names = "|".join(name.replace("-", "_") for name in context.profile.distributions)
    words = re.compile(rf"\b({names}|dateutil)\b".encode())
    sources = (entry.source for entry in context.function if entry.path.endswith(".py"))
    return any(words.search(source.read_bytes()) for source in sources)


def _obstacle(context: PassContext) -> str:
    """Why no recording can be made on this machine, as a clause; empty where it can."""
    if context.interpreter is None:
        return f"there is no Python {context.profile.python} here to record a new one"
    if this_machine() != context.profile.machine:
        return f"this machine is no {context.profile.machine} to record a new one on"
    return ""
