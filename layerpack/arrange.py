"""The recording that paged libraries are arranged by: read where it holds, made where it does not.

It is to the pages of libraries what the lock is to versions, and lies beside it (recording.py).
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from layerpack.cache import Cache
from layerpack.passes.api import PassContext
from layerpack.passes.paged import pack_for_recording, packing_inputs
from layerpack.payload import FileEntry, Payload
from layerpack.recording import Recording
from layerpack.workload import record, workloads_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Arranging:
    """What making a recording needs beside the payload and the passes' context.

    `function`: the function package; `locked`: the file beside the recipe may not change;
    `step`, `note` and `warn` tell the user.
    """

    function: tuple[FileEntry, ...] | None
    locked: bool
    cache: Cache
    step: Callable[[str], None]
    note: Callable[[str], None]
    warn: Callable[[str], None]


def current_recording(
    payload: Payload, context: PassContext, arranging: Arranging
) -> Recording | None:
    """The recording for a payload that is about to be paged; None where there is nothing to
    record, or nothing to record it with.

    One that no longer holds is made anew. Where that cannot be (another architecture, no
    interpreter, `locked`), the old one serves: what it says of unchanged libraries still helps,
    and the rest is ignored.
    """
    recipe, function = context.recipe, arranging.function
    if not recipe.workloads or function is None:
        return None
    libraries = packing_inputs(payload, context)
    if not libraries:
        return None
    path = recipe.recording_path
    former = Recording.read(path)
    reason = "there is none"
    if former is not None:
        reason = former.stale_reason(workloads_key(recipe, function), libraries)
        if not reason:
            return former
    if obstacle := _obstacle(context, arranging):
        arranging.note(f"the recording {path} does not hold ({reason}), and {obstacle}")
        return former
    if former is not None:
        arranging.warn(f"{path} is stale ({reason}): recording anew")
    arranging.step("running the workloads, to arrange what they touch")
    packed = pack_for_recording(payload, context)
    with arranging.cache.scratch() as scratch:
        recording, outcomes = record(
            recipe,
            packed,
            function,
            interpreter=context.interpreter or Path(),
            libraries=libraries,
            scratch=scratch,
        )
    for outcome in outcomes:
        if outcome.error:
            arranging.warn(
                f"workload {outcome.name}: {outcome.error} (what it touched until then is recorded)"
            )
    recording.write(path)
    arranging.note(f"wrote {path}")
    return recording


def _obstacle(context: PassContext, arranging: Arranging) -> str:
    """Why no recording can be made here, as a clause; empty where it can."""
    if arranging.locked:
        return "--locked keeps it"
    if context.interpreter is None:
        return f"there is no Python {context.profile.python} here to record a new one"
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine := platform.machine().lower())
    if (here or machine) != context.profile.machine:
        return f"this machine is no {context.profile.machine} to record a new one on"
    return ""
