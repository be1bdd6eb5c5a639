"""What a build's manifest tells of its proof, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_TREES: Final = {
    "packed": "layers",
    "plain": "plain install",
    "plain_compiled": "plain, bytecode",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StartTimes:
    """What a workload took at verification, in one `tree`: `layers`, `plain install`, or (the first
    one only) `plain, bytecode`: the plain install with bytecode of all that it imports.

    Milliseconds of initialisation (None but for the first workload), of its first and its second
    invocation (None where it fails); the most memory, and what was read or mapped of files, in MB.
    """

    workload: str
    tree: str
    init_ms: float | None
    first_ms: float
    second_ms: float | None
    memory_mb: int
    read_mb: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportTimes:
    """A package that the function imports, and how deep it stands in the tree.

    Milliseconds of its first import with all that it imports, in the layers and in the plain
    install (None where it stands elsewhere there).
    """

    name: str
    depth: int
    packed_ms: float
    plain_ms: float | None


def proof_line(verified: Mapping[str, Any]) -> str:
    """One line on what was proven, or why nothing was; empty for a record that does not tell."""
    if verified.get("state") != "verified":
        return f"not verified: {verified['reason']}" if verified else ""
    failing = len(verified["not_importable"])
    told = f"verified: {_counted(verified['modules'] - failing, 'module', 'import')}"
    if failing:
        told += f" ({failing} do not, nor do they in a plain install)"
    workloads = verified["workloads"]
    if workloads:
        differing = sum(not one["equal"] for one in workloads)
        answers = f"; {_counted(len(workloads), 'workload', 'answer')} as in a plain install"
        told += answers + (f", {differing} within the tolerance" if differing else "")
        if ignored := verified.get("ignored"):
            told += f", but for {', '.join(ignored)}"
    elif verified.get("function"):
        told += "; the function imports"
    for level in verified.get("levels", ()):
        held = level["state"] == "verified"
        told += f"; at {level['level']}" + ("" if held else f" not tried ({level['reason']})")
    if verified["isolation"] == "process":
        told += "; without isolation"
    if reason := verified.get("unjudged"):
        told += f"; origins of libraries not checked ({reason})"
    return told


def _counted(count: int, name: str, verb: str) -> str:
    """`1 workload answers`, `2 workloads answer`."""
    return f"1 {name} {verb}s" if count == 1 else f"{count} {name}s {verb}"


def start_times(verified: Mapping[str, Any]) -> tuple[StartTimes, ...]:
    """The workloads, each in the layers and in the plain install; then the sizes of memory."""
    workloads = verified.get("workloads", ())
    told = [(one["name"], one) for one in workloads]
    told += [
        (f"{workloads[0]['name']}, {one['memory_mb']} MB", one)
        for one in verified.get("memory", ())
    ]
    return tuple(
        StartTimes(workload=name, tree=tree, **one[side])
        for name, one in told
        for side, tree in _TREES.items()
        if one.get(side)
    )


def baseline_line(verified: Mapping[str, Any]) -> str:
    """What the plain install's figures were measured on; empty where there are none."""
    told = verified.get("baseline")
    if not told:
        return ""
    on = f"{told['processor']}, Python {told['python']}, {told['date']}"
    return f"plain install: without bytecode, measured on {on}"


def import_times(verified: Mapping[str, Any]) -> tuple[ImportTimes, ...]:
    """The tree of what the function imports."""
    return tuple(ImportTimes(**one) for one in verified.get("imports", ()))
