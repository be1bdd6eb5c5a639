"""Proof before it ships: the layers do what the plain install does, under Lambda's conditions."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from layerpack.blame import Cause, Step, find_cause
from layerpack.cache import Cache
from layerpack.compare import difference
from layerpack.emulation import runtime_folder
from layerpack.emulator.environment import Environment, Invocation
from layerpack.emulator.sandbox import CannotIsolateError, Isolation, Program, Settings
from layerpack.emulator.trees import Trees, unzip
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.interpreters import find_interpreter, interpreter_version
from layerpack.manifest import Manifest
from layerpack.output import Built
from layerpack.payload import Payload
from layerpack.recipe import Recipe
from layerpack.units import sha256_file

#: What is proven is the layers, not the function's configuration.
_SETTINGS: Final = Settings(memory_mb=10240, timeout=300.0, tmp_mb=10240)
_MODULE_SECONDS: Final = 60
_IMPORTS: Final = Path(__file__).parent / "emulator" / "inside" / "imports.py"
_NO_MODULES: Final = frozenset({"__pycache__", "bin", "include", "share", "lib", "etc", "man"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A workload in one tree: the answer's JSON, the type of its error (empty without one), and
    what it took: initialisation (of the first workload in its environment), the first and the
    second invocation in milliseconds, the most memory in MB."""

    name: str
    payload: str
    error_type: str
    init_ms: float | None
    first_ms: float
    second_ms: float | None
    memory_mb: int


def obstacle(recipe: Recipe) -> str:
    """Why the recipe's layers cannot be run on this machine, as a clause; empty where they can."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine := platform.machine().lower())
    if (here or machine) != recipe.profile.machine:
        return f"this machine is no {recipe.profile.machine}"
    if find_interpreter(recipe.profile) is None:
        return f"there is no Python {recipe.profile.python} here"
    return ""


def verify(
    folder: Path, manifest: Manifest, built: Built, cache: Cache, events: Events
) -> dict[str, Any]:
    """Prove what lies in the build `folder`, and give the record for its manifest.

    Raises VerificationError for a module that imports from the plain install and not from the
    layers, a workload that fails, and one that the two answer differently; it names the pass and
    the file that make the difference, where that can be found.
    """
    reason = obstacle(built.recipe)
    if reason:
        events.warn(f"the layers are not verified: {reason}")
        return {"state": "not verified", "reason": reason}
    with cache.scratch() as scratch:
        return _Proof(built, cache=cache, events=events, scratch=scratch).run(folder, manifest)


class _Proof:
    """One verification, with its trees below `scratch`."""

    def __init__(self, built: Built, *, cache: Cache, events: Events, scratch: Path) -> None:
        self._built = built
        self._recipe = built.recipe
        self._cache = cache
        self._events = events
        self._scratch = scratch
        self._interpreter = find_interpreter(built.recipe.profile) or Path()
        self._client = runtime_folder(built.recipe.profile, cache, events)
        self._isolation: Isolation = "namespaces"
        self._printed = bytearray()
        self._events_of = {
            one.name: (self._recipe.folder / one.event).read_bytes()
            for one in self._recipe.workloads
        }

    def run(self, folder: Path, manifest: Manifest) -> dict[str, Any]:
        """The record. Raises VerificationError."""
        self._events.step("verifying: importing every module")
        packed = unzip(folder, manifest, self._scratch / "packed")
        modules = self._modules()
        failed = self._failing(packed, modules)
        plain_failed: dict[str, str] = {}
        if failed:
            # Only what fails is of interest in the plain install.
            plain_failed = self._failing(self._plain(), sorted(failed))
        for module, problem in failed.items():
            if module not in plain_failed:
                self._raise_import(module, problem)
        ran = self._workloads(packed)
        return {
            "state": "verified",
            "isolation": self._isolation,
            "python": interpreter_version(self._interpreter).split()[0],
            "modules": len(modules),
            "not_importable": dict(sorted(plain_failed.items())),
            "workloads": ran,
        }

    # Modules.

    def _modules(self) -> list[str]:
        """The top-level modules that the plain install has, and the layers still have files of."""
        naive, payload = self._built.naive, self._built.outcome.payload
        left = set(_top_level(payload))
        return sorted(set(_top_level(naive)) & left)

    def _failing(self, trees: Trees, modules: Sequence[str]) -> dict[str, str]:
        """Those that do not import, each with the reason."""
        task = self._scratch / "imports"
        if not task.exists():
            task.mkdir()
            shutil.copy(_IMPORTS, task / "layerpack_imports.py")
        trees = replace(trees, task=task)
        event = {"modules": list(modules), "at_once": os.cpu_count(), "seconds": _MODULE_SECONDS}
        environment = self._environment(trees, "layerpack_imports.handler")
        try:
            answer = environment.invoke(json.dumps(event).encode())
        finally:
            environment.close()
        if answer.error_type:
            raise VerificationError(
                f"the modules cannot be imported: {answer.payload.decode()}", "Try --no-verify."
            )
        failing: dict[str, str] = json.loads(answer.payload)
        return failing

    def _raise_import(self, module: str, problem: str) -> None:
        self._events.step(f"looking for what keeps {module} from being imported")

        def breaks(payload: Payload) -> bool:
            return module in self._failing(self._materialised(payload, "tried"), [module])

        self._raise(f"{module} does not import any more: {problem}", self._cause(breaks))

    # Workloads.

    def _workloads(self, packed: Trees) -> list[dict[str, Any]]:
        if not self._recipe.workloads or self._built.function is None:
            return []
        self._events.step("verifying: running the workloads on the layers")
        ours = self._ran(packed)
        self._events.step("verifying: running the workloads on the plain install")
        plain = self._plain_ran()
        record = []
        for one, other in zip(ours, plain, strict=True):
            problem = self._problem(one, other)
            if problem and other.error_type:
                raise VerificationError(
                    f"workload {one.name} fails on the plain install as well: {_failure(other)}",
                    _advice(other),
                )
            if problem:
                self._raise_workload(one.name, problem, other)
            record.append(
                {
                    "name": one.name,
                    "equal": one.payload == other.payload,
                    "packed": _numbers(one),
                    "plain": _numbers(other),
                }
            )
        return record

    def _problem(self, packed: Ran, plain: Ran) -> str:
        if packed.error_type:
            return _failure(packed)
        if plain.error_type:
            return _failure(plain)
        tolerance = self._recipe.verify.tolerance
        return difference(plain.payload.encode(), packed.payload.encode(), tolerance) or ""

    def _raise_workload(self, name: str, problem: str, plain: Ran) -> None:
        self._events.step(f"looking for what changes the answer of workload {name}")

        def breaks(payload: Payload) -> bool:
            (ran,) = self._ran(self._materialised(payload, "tried"), only=name)
            return bool(self._problem(ran, plain))

        self._raise(f"workload {name}: {problem}", self._cause(breaks))

    def _plain_ran(self) -> list[Ran]:
        """The workloads on the plain install, which only change with it."""
        entries = [(entry.path, entry.sha256) for entry in self._built.naive]
        function = [(entry.path, entry.sha256) for entry in self._built.function or ()]
        version = interpreter_version(self._interpreter)
        client = sha256_file(_IMPORTS.with_name("runtime.py"))
        key = (
            *(entries, function, version, self._isolation, client, os.cpu_count()),
            [(name, event.decode(errors="replace")) for name, event in self._events_of.items()],
        )
        kept = self._cache.read_note("answers", *key)
        if kept is not None:
            return [Ran(**one) for one in kept]
        ran = self._ran(self._plain())
        if not any(one.error_type for one in ran):
            self._cache.write_note([asdict(one) for one in ran], "answers", *key)
        return ran

    def _ran(self, trees: Trees, *, only: str = "") -> list[Ran]:
        assert self._recipe.function is not None  # noqa: S101 (workloads need one)
        ran = []
        environment = self._environment(trees, self._recipe.function.handler)
        try:
            for name, event in self._events_of.items():
                if only in ("", name):
                    first = environment.invoke(event)
                    second = None if first.error_type or only else environment.invoke(event)
                    ran.append(_ran(name, first, second))
        finally:
            environment.close()
        return ran

    # Trees.

    def _plain(self) -> Trees:
        return self._materialised(self._built.naive, "plain")

    def _materialised(self, payload: Payload, name: str) -> Trees:
        home = self._scratch / name
        if name == "plain" and home.exists():
            return Trees(opt=home / "opt", task=home / "task")
        shutil.rmtree(home, ignore_errors=True)
        (home / "opt").mkdir(parents=True)
        (home / "task").mkdir()
        payload.materialise(home / "opt")
        Payload(self._built.function or ()).materialise(home / "task")
        return Trees(opt=home / "opt", task=home / "task")

    def _environment(self, trees: Trees, handler: str) -> Environment:
        program = Program(
            name=self._recipe.name,
            runtime=self._recipe.runtime,
            handler=handler,
            opt=trees.opt,
            task=trees.task,
            client=self._client,
            interpreter=self._interpreter,
        )
        self._printed.clear()
        if self._isolation == "namespaces":
            try:
                return Environment(program, _SETTINGS, "namespaces", self._printed.extend)
            except CannotIsolateError as error:
                self._events.note(f"verifying without isolation: {error}")
                self._isolation = "process"
        return Environment(program, _SETTINGS, "process", self._printed.extend)

    # Causes.

    def _cause(self, breaks: Callable[[Payload], bool]) -> Cause | None:
        outcome = self._built.outcome
        steps = [
            Step(name=record.name, payload=payload)
            for record, payload in zip(outcome.records, outcome.payloads, strict=True)
        ]
        return find_cause(self._built.naive, steps, breaks)

    def _raise(self, message: str, cause: Cause | None) -> None:
        hint = "Build with --no-verify to look at the layers."
        if cause is not None:
            hint = (
                f"The pass '{cause.pass_name}' does it, by {cause.path}: keep that file as it is "
                "(strip.keep, or native.keep-plain for a library), or switch the pass off."
            )
        raise VerificationError(message, hint)


def _top_level(payload: Payload) -> Iterable[str]:
    """Names that `import` takes, of the distributions' folder."""
    for entry in payload:
        path = payload.in_site(entry.path)
        if path is None:
            continue
        first, _, rest = path.partition("/")
        if rest:
            is_code = rest.endswith((".py", ".so"))
            name = first
        else:
            name, _, ending = first.partition(".")
            is_code = ending == "py" or ending.endswith("so")
        if is_code and name.isidentifier() and name not in _NO_MODULES:
            yield name


def _ran(name: str, first: Invocation, second: Invocation | None) -> Ran:
    last = second or first
    return Ran(
        name=name,
        payload=first.payload.decode(errors="replace"),
        error_type=first.error_type,
        init_ms=first.init_ms,
        first_ms=first.duration_ms,
        second_ms=second.duration_ms if second else None,
        memory_mb=max(first.memory_mb, last.memory_mb),
    )


def _numbers(ran: Ran) -> dict[str, float | None]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 1)

    return {
        "init_ms": rounded(ran.init_ms),
        "first_ms": rounded(ran.first_ms),
        "second_ms": rounded(ran.second_ms),
        "memory_mb": ran.memory_mb,
    }


def _failure(ran: Ran) -> str:
    """An error of the handler's, with the line of the function that raised it."""
    try:
        error = json.loads(ran.payload)
        lines = [" ".join(line.split()) for line in error.get("stackTrace") or ()]
        # The function's own last line tells its author more than the depth of a library.
        own = [line for line in lines if "/task/" in line] or lines
        where = f" ({own[-1]})" if own else ""
        return f"{error['errorType']}: {error['errorMessage']}{where}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ran.error_type


def _advice(ran: Ran) -> str:
    if "multiprocessing" in ran.payload or "shared_memory" in ran.payload:
        return (
            "Lambda has no /dev/shm: locks, queues, pools and shared memory of multiprocessing "
            "fail there. Use threads, or Process with Pipe."
        )
    return "Mend the function or the event, or build with --no-verify."
