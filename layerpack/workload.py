"""Run a recipe's workloads on a payload: its function with each event, as Lambda would call it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack import process
from layerpack.lambda_variables import lambda_variables
from layerpack.payload import LIBRARIES, PYTHON, FileEntry, Payload, is_library_name
from layerpack.processor_levels import levels_here
from layerpack.recipe import Recipe
from layerpack.recording import LibraryRecord, Recording
from layerpack.units import key_of, sha256_file

_WORKER: Final = Path(__file__).with_name("workload_worker.py")
#: The pager writes the pages that it brings in to the file that this variable names.
_TRACE: Final = "LAYERPACK_TRACE"
#: What stands before the address of a probe in a trace.
_PROBE: Final = "@"
#: Lambda's longest timeout is 15 minutes; a first answer that takes so long is no use anywhere.
_SECONDS: Final = 300
#: The most that a function can have: what it does with less is nothing for a recording.
_MEMORY_MB: Final = 10240


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a workload ended: `error` is empty where the handler answered."""

    name: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How the workloads of one process ended, and the sources in the layers of what they imported
    (none where the process died)."""

    outcomes: tuple[Outcome, ...] = ()
    imported: tuple[str, ...] = ()


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
    )


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
) -> tuple[Recording, tuple[Outcome, ...]]:
    """Run every workload once, and record which pages of the paged libraries they touch, and which
    modules they import.

    `payload` holds the packed libraries; `libraries` maps the SHA-256 of what each was packed from
    to its path in the layers; `provided` holds the packages that the runtime brings; `operators_of`
    tells what ran by the probes of each library that were reached. `scratch` is an empty folder. A
    workload that fails is an outcome with an error, and what it touched until then counts. Where
    the recipe names levels of the processor, it runs once for each that this machine has, and what
    they touch counts together.
    """
    touched: dict[str, dict[int, None]] = {}
    probes: dict[str, set[int]] = {}
    imported: set[str] = set()
    outcomes: list[Outcome] = []
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
        for digest, pages in _read_trace(trace).items():
            touched.setdefault(digest, {}).update(dict.fromkeys(pages))
        for digest, addresses in _read_trace(trace, _PROBE).items():
            probes.setdefault(digest, set()).update(addresses)
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
    opt, task, home = scratch / "opt", scratch / "task", scratch / "tmp"
    home.mkdir(parents=True)
    payload.materialise(opt)
    Payload(function).materialise(task)
    job, result = scratch / "job.json", scratch / "result.json"
    job.write_text(
        json.dumps(
            {
                "build": os.getpid(),
                "opt": str(opt),
                "task": str(task),
                "site": str(opt / payload.site),
                "python": str(opt / PYTHON),
                "provided": str(provided or ""),
                "handler": recipe.function.handler,
                "workloads": [
                    {"name": one.name, "event": str((recipe.folder / one.event).resolve())}
                    for one in recipe.workloads
                ],
                "seconds": _SECONDS,
                "result": str(result),
            }
        ),
        encoding="utf-8",
    )
    ended = process.run(
        [interpreter, "-I", "-S", "-B", _WORKER, job],
        # No credentials of the user's, and nothing that makes a recording differ by the shell.
        inherit=False,
        # What it starts, and does not wait for, ends with it.
        alone=True,
        environment={
            **lambda_variables(
                name=recipe.name,
                runtime=recipe.runtime,
                handler=recipe.function.handler,
                memory_mb=_MEMORY_MB,
            ),
            **recipe.function.environment,
            "HOME": str(home),
            "LAMBDA_TASK_ROOT": str(task),
            "LD_LIBRARY_PATH": str(opt / LIBRARIES),
            "PATH": f"{opt / 'bin'}{os.pathsep}{os.defpath}",
            "TMPDIR": str(home),
            **_processor_settings(),
            **environment,
        },
        folder=task,
    )
    shutil.rmtree(opt)
    try:
        value = json.loads(result.read_text(encoding="utf-8"))
        outcomes = (Outcome(name=x["name"], error=x["error"] or "") for x in value["workloads"])
        return Ended(outcomes=tuple(outcomes), imported=tuple(value["imported"]))
    except (OSError, ValueError):
        # The interpreter died, or was ended: by which workload is not known.
        error = f"the process ended with {ended.returncode}:\n{ended.tail()}"
        return Ended(outcomes=tuple(Outcome(name=x.name, error=error) for x in recipe.workloads))


def _processor_settings() -> dict[str, str]:
    """What tells OpenBLAS which processor this is, for machines where it finds out wrongly."""
    names = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: os.environ[name] for name in names if name in os.environ}


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
