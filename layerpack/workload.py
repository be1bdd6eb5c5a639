"""Run a recipe's workloads on a payload: its function with each event, as Lambda would call it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack import process
from layerpack.child_variables import processor_variables
from layerpack.lambda_variables import lambda_variables
from layerpack.limits import LARGEST_MEMORY_MB
from layerpack.payload import LIBRARIES, PYTHON, FileEntry, Payload, is_library_name
from layerpack.processor_levels import levels_here
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Function
from layerpack.recording import LibraryRecord, Recording
from layerpack.units import key_of, sha256_file

_WORKER: Final = Path(__file__).with_name("workload_worker.py")
#: The pager writes the pages that it brings in to the file that this variable names.
_TRACE: Final = "LAYERPACK_TRACE"
#: What stands before the address of a probe in a trace.
_PROBE: Final = "@"
#: Lambda's longest timeout is 15 minutes; a first answer that takes so long is no use anywhere.
_SECONDS: Final = 300
#: How much later the worker is ended that has not ended itself: the function can keep it from that.
_MARGIN: Final = 30
#: What errors say, and what libraries call them, where there is no network: names of hosts that
#: cannot be looked up, and connect(2)'s ENETUNREACH, ECONNREFUSED, EHOSTUNREACH and ETIMEDOUT.
_NO_NETWORK: Final = re.compile(
    r"gaierror|name resolution|Name or service not known|NameResolution|Errno -[235]\b"
    r"|Network is unreachable|Connection refused|No route to host|Errno (101|110|111|113)\b"
    r"|Connect(ion)?(Refused|Timeout)?Error|ConnectTimeout|connect to the endpoint"
    # Not what Lambda says of a function's own timeout.
    r"|(?<!Task )timed out"
)
_NETWORKED: Final = (
    "the workloads could reach the network while they were recorded: the kernel gives this user no "
    "network of its own (unshare); without one, as in a proof, they may touch other code"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a workload ended: `error` is empty where the handler answered."""

    name: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How the workloads of one process ended, and the sources in the layers of what they imported
    (none where the process died); `networked` where they reached the network."""

    outcomes: tuple[Outcome, ...] = ()
    imported: tuple[str, ...] = ()
    networked: bool = False


def workloads_key(
    recipe: Recipe, function: Iterable[FileEntry], payload: Iterable[FileEntry] = ()
) -> str:
    """A key of the function's files and the events: what decides which code a workload runs.

    Where the recipe keeps no operators but those that run, of the models and modules in the
    `payload` as well: a recording that does not hold any more would leave out what is needed.
    """
    told = [
        (entry.path, entry.sha256)
        for entry in (payload if recipe.mxnet.records else ())
        if not is_library_name(entry.path)
    ]
    return key_of(
        [(entry.path, entry.sha256) for entry in function],
        recipe.function.handler if recipe.function else "",
        [(one.name, sha256_file(recipe.folder / one.event)) for one in recipe.workloads],
        # Without these the key is what it was before there were any.
        *([recipe.function.environment] if recipe.function and recipe.function.environment else []),
        *([recipe.cpu_levels] if recipe.cpu_levels else []),
        *([told] if told else []),
        *(["network"] if recipe.verify.network else []),
    )


def network_hint(recipe: Recipe, error: str) -> str:
    """What to do about an error that a function without network may raise; empty for others, and
    where the recipe asks for the network."""
    if recipe.verify.network or not _NO_NETWORK.search(error):
        return ""
    return "Workloads run without network: set verify.network to true if the function needs it."


def record(
    recipe: Recipe,
    payload: Payload,
    function: tuple[FileEntry, ...],
    *,
    interpreter: Path,
    libraries: Mapping[str, str],
    scratch: Path,
    provided: Path | None = None,
    operators_of: Callable[[Mapping[str, set[int]]], frozenset[str] | None] = lambda probes: None,
    warn: Callable[[str], None] = lambda text: None,
) -> tuple[Recording, tuple[Outcome, ...]]:
    """Run every workload once, and record which pages of the paged libraries they touch, and which
    modules they import.

    `payload` holds the packed libraries; `libraries` maps the SHA-256 of what each was packed from
    to its path in the layers; `provided` holds the packages that the runtime brings; `operators_of`
    tells what ran by the probes of each library that were reached. `scratch` is an empty folder. A
    workload that fails is an outcome with an error, and what it touched until then counts; `warn`
    tells where they reached a network that the recipe does not ask for. Where the recipe names
    levels of the processor, it runs once for each that this machine has, and what they touch counts
    together.
    """
    touched: dict[str, dict[int, None]] = {}
    probes: dict[str, set[int]] = {}
    imported: set[str] = set()
    outcomes: list[Outcome] = []
    networked = False
    paths = [entry.source for entry in payload if is_library_name(entry.path)]
    for number, variables_ in enumerate(levels_here(recipe.cpu_levels, paths)):
        folder = scratch / str(number)
        folder.mkdir()
        trace = folder / "trace"
        ended = run_workloads(
            recipe,
            payload,
            function,
            interpreter=interpreter,
            scratch=folder,
            environment={_TRACE: str(trace), **variables_},
            provided=provided,
        )
        outcomes += ended.outcomes
        imported.update(ended.imported)
        networked |= ended.networked
        for digest, pages in _read_trace(trace).items():
            touched.setdefault(digest, {}).update(dict.fromkeys(pages))
        for digest, addresses in _read_trace(trace, _PROBE).items():
            probes.setdefault(digest, set()).update(addresses)
    if networked and not recipe.verify.network:
        warn(_NETWORKED)
    records = {
        digest: LibraryRecord(path=path, pages=tuple(touched.get(digest, ())))
        for digest, path in libraries.items()
    }
    recording = Recording(
        key=workloads_key(recipe, function, payload),
        libraries=records,
        imported=frozenset(imported),
        operators=operators_of(probes),
    )
    return recording, tuple(outcomes)


def run_workloads(
    recipe: Recipe,
    payload: Payload,
    function: tuple[FileEntry, ...],
    *,
    interpreter: Path,
    scratch: Path,
    environment: Mapping[str, str],
    provided: Path | None = None,
) -> Ended:
    """Lay the layers and the function out below `scratch`, and run every workload in one process.

    The function sees nothing but the layers, the standard library, what is `provided`, and the
    variables that Lambda sets. Raises BuildToolError where the interpreter cannot be started.
    """
    if recipe.function is None or not recipe.workloads:
        return Ended()
    places = _Places(scratch)
    places.tmp.mkdir(parents=True)
    payload.materialise(places.opt)
    Payload(function).materialise(places.task)
    job = _job(recipe, recipe.function, places, site=payload.site, provided=provided)
    places.job.write_text(json.dumps(job), encoding="utf-8")
    variables = _variables(recipe, recipe.function, places, provided)
    try:
        ended = process.run(
            [interpreter, "-I", "-S", "-B", _WORKER, places.job],
            # No credentials of the user's, and nothing that makes a recording differ by the shell.
            bare=True,
            environment={**variables, **processor_variables(), **environment},
            folder=places.task,
            seconds=_SECONDS + _MARGIN,
        )
        error = f"the process ended with {ended.returncode}:\n{ended.tail()}"
    except process.TimedOutError as timed_out:
        error = str(timed_out)
    shutil.rmtree(places.opt)
    try:
        return _read_result(places.result)
    except (OSError, ValueError):
        # The interpreter died, or was ended: by which workload is not known.
        return Ended(outcomes=tuple(Outcome(name=x.name, error=error) for x in recipe.workloads))


class _Places:
    """What is where below a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.opt = scratch / "opt"
        self.task = scratch / "task"
        self.tmp = scratch / "tmp"
        self.job = scratch / "job.json"
        self.result = scratch / "result.json"


def _job(
    recipe: Recipe, function: Function, places: _Places, *, site: str, provided: Path | None
) -> dict[str, Any]:
    """What the worker is to do, as it documents it."""
    return {
        "build": os.getpid(),
        "opt": str(places.opt),
        "task": str(places.task),
        "site": str(places.opt / site),
        "python": str(places.opt / PYTHON),
        "provided": str(provided or ""),
        "handler": function.handler,
        "workloads": [
            {"name": one.name, "event": str((recipe.folder / one.event).resolve())}
            for one in recipe.workloads
        ],
        "seconds": _SECONDS,
        "network": recipe.verify.network,
        "result": str(places.result),
    }


def _variables(
    recipe: Recipe, function: Function, places: _Places, provided: Path | None
) -> dict[str, str]:
    """The variables that Lambda sets, with these places, and the function's own."""
    runtime_packages = str(provided or places.task)
    return {
        **lambda_variables(
            name=recipe.name,
            runtime=recipe.runtime,
            handler=function.handler,
            # What a function does with less is nothing for a recording.
            memory_mb=LARGEST_MEMORY_MB,
        ),
        "PYTHONPATH": runtime_packages,
        **function.environment,
        "HOME": str(places.tmp),
        "LAMBDA_RUNTIME_DIR": runtime_packages,
        "LAMBDA_TASK_ROOT": str(places.task),
        "LD_LIBRARY_PATH": str(places.opt / LIBRARIES),
        "PATH": f"{places.opt / 'bin'}{os.pathsep}{os.defpath}",
        "TMPDIR": str(places.tmp),
    }


def _read_result(path: Path) -> Ended:
    """What the worker wrote. Raises OSError and ValueError where it did not get that far."""
    value = json.loads(path.read_text(encoding="utf-8"))
    outcomes = (Outcome(name=x["name"], error=x["error"] or "") for x in value["workloads"])
    return Ended(
        outcomes=tuple(outcomes), imported=tuple(value["imported"]), networked=value["networked"]
    )


def _read_trace(path: Path, mark: str = "") -> dict[str, list[int]]:
    """The numbers with that mark by library, each once, in the order in which they came.

    A line is a library's SHA-256 and a page's number, or `@` and a probe's address; a line that a
    killed process cut is left out.
    """
    pages: dict[str, dict[int, None]] = {}
    if not path.exists():
        return {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        digest, _, word = line.partition(" ")
        number = word.removeprefix(mark)
        if len(digest) == 64 and word.startswith(mark) and number.isdigit():
            pages.setdefault(digest, {})[int(number)] = None
    return {digest: list(found) for digest, found in pages.items()}
