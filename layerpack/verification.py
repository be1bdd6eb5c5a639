"""Proof before it ships: the layers do what the plain install does, under Lambda's conditions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from layerpack.answers import Answered, Answers
from layerpack.blame import Cause, Step, find_cause
from layerpack.cache import Cache
from layerpack.compare import difference
from layerpack.emulator.trees import Trees, unzip
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.import_times import ImportTime
from layerpack.isolation import Isolator, Wanted
from layerpack.manifest import Manifest
from layerpack.output import Built
from layerpack.payload import Payload, is_library_name, module_names
from layerpack.processor_levels import LEVELS, Level, lacking, variables
from layerpack.trial import Ran, Trial

# Of what is kept of the plain install's runs.
_FORMAT: Final = 3
# In what a function says that calls what the recipe leaves out of a library: such a message has the
# key that brings it back (operators/reduce.py, elf/pager/drops.c).
_LEFT_OUT: Final = ("was left out of this layer", "code that was left out of it is missed")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofOptions:
    """What the user asks of a proof: the sandbox, the image of a container (empty: the one that
    was built in), and the memory sizes to measure with, in MB (none: the recipe's)."""

    wanted: Wanted = "auto"
    image: str = ""
    memory: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What a verification found: the record for the manifest, and what the workloads answered
    (None without workloads, or where nothing ran)."""

    record: dict[str, Any]
    answers: Answers | None = None


def verify(
    folder: Path,
    manifest: Manifest,
    built: Built,
    *,
    cache: Cache,
    events: Events,
    options: ProofOptions | None = None,
) -> Proof:
    """Prove what lies in the build `folder`, and give the record for its manifest.

    Raises VerificationError for a module that imports from the plain install and not from the
    layers, a workload that fails, and one that the two answer differently; it names the pass and
    the file that make the difference, where that can be found.
    """
    options = options or ProofOptions()
    isolator = Isolator(
        options.wanted,
        built.recipe.profile,
        events,
        image=options.image,
        built_in=built.image,
    )
    with closing(isolator), cache.scratch() as scratch:
        if reason := isolator.obstacle():
            events.warn(f"the layers are not verified: {reason}")
            return Proof(record={"state": "not verified", "reason": reason})
        memory = options.memory or built.recipe.verify.memory
        trial = Trial(built.recipe, cache=cache, events=events, scratch=scratch, isolator=isolator)
        proof = _Proof(built, trial, memory, cache=cache, events=events, scratch=scratch)
        return proof.run(folder, manifest)


class _Proof:
    """One verification, with its trees below `scratch`; `memory` are sizes to measure, in MB."""

    def __init__(
        self,
        built: Built,
        trial: Trial,
        memory: Sequence[int],
        *,
        cache: Cache,
        events: Events,
        scratch: Path,
    ) -> None:
        self._built = built
        self._recipe = built.recipe
        self._memory = memory
        self._cache = cache
        self._events = events
        self._scratch = scratch
        self._trial = trial
        self._tries = 0
        self._answers: Answers | None = None

    def run(self, folder: Path, manifest: Manifest) -> Proof:
        """What was found. Raises VerificationError."""
        self._events.step("verifying: importing every module")
        packed = unzip(folder, manifest, self._scratch / "packed")
        modules = self._modules()
        failed = self._trial.failing(packed, modules)
        if reason := self._cannot_run():
            self._events.warn(f"the layers are not verified: {reason}")
            return Proof(record={"state": "not verified", "reason": reason})
        plain_failed: dict[str, str] = {}
        if failed:
            # Only what fails is of interest in the plain install.
            plain_failed = self._trial.failing(self._plain(), sorted(failed))
        for module, problem in failed.items():
            if module not in plain_failed:
                self._raise_import(module, problem)
        workloads = self._workloads(packed)
        record = {
            "state": "verified",
            "isolation": self._trial.isolation,
            "python": self._trial.python,
            "modules": len(modules),
            "not_importable": dict(sorted(plain_failed.items())),
            **workloads,
        }
        return Proof(record=record, answers=self._answers)

    def _cannot_run(self) -> str:
        """Why nothing of the layers can run on this processor, as a clause; empty where it can.

        Their libraries end a process on one that lacks all levels that the recipe's `cpu` keeps.
        """
        levels = self._recipe.cpu_levels
        if self._recipe.native.store == "plain" or not levels:
            return ""
        lacks = [lacking(level, self._trial.processor) for level in levels]
        return f"this processor lacks {', '.join(lacks[0])} for {levels[0]}" if all(lacks) else ""

    # Modules.

    def _modules(self) -> list[str]:
        """The top-level modules that the plain install has, and the layers still have files of."""
        naive, payload = self._built.naive, self._built.outcome.payload
        left = set(module_names(payload))
        return sorted(set(module_names(naive)) & left)

    def _raise_import(self, module: str, problem: str) -> None:
        message = f"{module} does not import any more: {problem}"
        _raise_if_left_out(message)
        self._events.step(f"looking for what keeps {module} from being imported")

        def breaks(payload: Payload) -> bool:
            return module in self._trial.failing(self._tried(payload), [module])

        self._raise(message, self._cause(breaks))

    # Workloads.

    def _workloads(self, packed: Trees) -> dict[str, Any]:
        if not self._recipe.workloads or self._built.function is None:
            self._initialised(packed)
            return {"workloads": [], "levels": [], "imports": [], "memory": []}
        self._events.step("verifying: running the workloads on the layers")
        ours = self._trial.ran(packed)
        self._events.step("verifying: running the workloads on the plain install")
        held = self._held()
        plain = self._ran_plain(held)
        workloads = [
            {"name": one.name, "equal": equal, "packed": one.numbers, "plain": other.numbers}
            for one, other, equal in self._compared(ours, plain, held)
        ]
        self._answers = Answers(
            tolerance=self._recipe.verify.tolerance,
            workloads=tuple(self._answered(one) for one in ours),
        )
        self._events.step("measuring what the function imports")
        return {
            "workloads": workloads,
            "levels": [self._at_level(packed, level) for level in self._recipe.cpu_levels],
            "imports": self._imports(packed),
            "memory": [self._with_memory(packed, size) for size in self._memory],
        }

    def _answered(self, ran: Ran) -> Answered:
        event = self._trial.workloads[ran.name].decode()
        return Answered(
            name=ran.name, event=event, answer=ran.payload, again=ran.again or ran.payload
        )

    def _held(self) -> dict[str, str]:
        """What holds the plain install to what the recipe's `cpu` leaves of the layers' kernels:
        the highest level that this processor has."""
        has = [x for x in self._recipe.cpu_levels if not lacking(x, self._trial.processor)]
        if not has or self._recipe.native.store == "plain":
            return {}
        order = LEVELS[self._recipe.architecture]
        return self._variables(max(has, key=order.index))

    def _variables(self, level: Level) -> dict[str, str]:
        paths = (one.source for one in self._built.naive if is_library_name(one.path))
        return variables(level, paths)

    def _at_level(self, packed: Trees, level: Level) -> dict[str, Any]:
        """The workloads with libraries held to a level of the processor."""
        lacks = lacking(level, self._trial.processor)
        if lacks:
            reason = f"this processor lacks {', '.join(lacks)}"
            self._events.warn(f"the layers are not verified at {level}: {reason}")
            return {"level": level, "state": "not verified", "reason": reason}
        self._events.step(f"verifying at {level}")
        settings = self._variables(level)
        ours = self._trial.ran(packed, variables=settings)
        compared = self._compared(ours, self._ran_plain(settings), settings)
        return {
            "level": level,
            "state": "verified",
            "variables": settings,
            "equal": all(equal for _, _, equal in compared),
        }

    def _compared(
        self, ours: list[Ran], plain: list[Ran], settings: Mapping[str, str]
    ) -> list[tuple[Ran, Ran, bool]]:
        """Each workload in both, and whether it is equal to the last digit. Raises
        VerificationError for what differs by more than it may."""
        compared = []
        for one, other in zip(ours, plain, strict=True):
            known = other
            if self._problem(one, known):
                # What is known may be of another time or processor.
                (known,) = self._trial.ran(self._plain(), only=one.name, variables=settings)
            problem = self._problem(one, known)
            if problem and known.fails:
                raise VerificationError(
                    f"workload {one.name} fails on the plain install as well: {known.failure}",
                    _advice(known),
                )
            if problem:
                self._raise_workload(one.name, problem, known, settings)
            compared.append((one, known, not self._differs(one, known, 0.0)))
        return compared

    def _initialised(self, packed: Trees) -> None:
        """Without workloads the function's import is all that can be tried."""
        problem = self._trial.initialises(packed) if self._built.function is not None else ""
        if not problem:
            return
        if self._trial.initialises(self._plain()):
            # It may need variables that only its configuration on Lambda has.
            self._events.warn(f"the function does not import, nor in a plain install: {problem}")
            return
        message = f"the function does not import any more: {problem}"
        _raise_if_left_out(message)

        def breaks(payload: Payload) -> bool:
            return bool(self._trial.initialises(self._tried(payload)))

        self._raise(message, self._cause(breaks))

    def _ran_plain(self, settings: Mapping[str, str]) -> list[Ran]:
        def run() -> list[dict[str, Any]]:
            return [asdict(one) for one in self._trial.ran(self._plain(), variables=settings)]

        return [Ran(**one) for one in self._of_plain(f"answers {dict(settings)}", run)]

    def _problem(self, packed: Ran, plain: Ran) -> str:
        if packed.fails:
            return packed.failure
        if plain.fails:
            return plain.failure
        return self._differs(packed, plain, self._recipe.verify.tolerance)

    @staticmethod
    def _differs(packed: Ran, plain: Ran, tolerance: float) -> str:
        """How the answers differ, the second ones too; empty where they do not."""
        pairs = ((plain.payload, packed.payload), (plain.again or "", packed.again or ""))
        found = (difference(one.encode(), other.encode(), tolerance) for one, other in pairs)
        return next((text for text in found if text), "")

    def _raise_workload(
        self, name: str, problem: str, plain: Ran, settings: Mapping[str, str]
    ) -> None:
        message = f"workload {name}: {problem}"
        _raise_if_left_out(message)
        self._events.step(f"looking for what changes the answer of workload {name}")
        (again,) = self._trial.ran(self._plain(), only=name, variables=settings)
        if changing := self._problem(again, plain):
            raise VerificationError(
                f"workload {name}: the answer changes from run to run, also in the plain install: "
                f"{changing}",
                "Let the function answer the same each time (seed what is random, leave times and "
                "identifiers out), allow numbers to differ (verify.tolerance), or build with "
                "--no-verify.",
            )

        def breaks(payload: Payload) -> bool:
            trees = self._tried(payload)
            (ran,) = self._trial.ran(trees, only=name, variables=settings)
            return bool(self._problem(ran, plain))

        self._raise(message, self._cause(breaks))

    # What it takes.

    def _imports(self, packed: Trees) -> list[dict[str, Any]]:
        """The tree of packages of the layers, and beside it the plain install's times."""
        ours = self._trial.imports(packed)
        kept = self._of_plain("imports", lambda: _as_dicts(self._trial.imports(self._plain())))
        plain = dict(_by_path([ImportTime(**one) for one in kept]))
        return [
            {
                "name": one.name,
                "depth": one.depth,
                "packed_ms": one.milliseconds,
                "plain_ms": plain.get(path),
            }
            for one, (path, _) in zip(ours, _by_path(ours), strict=True)
        ]

    def _with_memory(self, packed: Trees, size: int) -> dict[str, Any]:
        self._events.step(f"measuring with {size} MB")
        ours = self._trial.with_memory(packed, size)
        if ours.fails:
            self._events.warn(f"with {size} MB the function fails: {ours.failure}")

        def of_plain() -> dict[str, Any]:
            return asdict(self._trial.with_memory(self._plain(), size))

        plain = Ran(**self._of_plain(f"memory {size}", of_plain))
        return {"memory_mb": size, "packed": ours.numbers, "plain": plain.numbers}

    def _of_plain(self, what: str, run: Callable[[], Any]) -> Any:
        """What the plain install gives, which only changes with it (and this machine)."""
        entries = [(entry.path, entry.sha256) for entry in self._built.naive]
        function = [(entry.path, entry.sha256) for entry in self._built.function or ()]
        version = self._trial.runs
        events = {k: v.decode(errors="replace") for k, v in self._trial.workloads.items()}
        own = self._recipe.function
        handler = [own.handler, own.environment] if own else []
        key = (
            *(_FORMAT, what, entries, function, self._recipe.name, handler, events, version),
            # What the answers of numeric code may depend on, and what else the function may import.
            *(self._trial.isolation, sorted(self._trial.processor), self._trial.client),
        )
        kept = self._cache.read_note("plain", *key)
        if kept is None:
            kept = run()
            failed = isinstance(kept, list) and any(
                one.get("error_type") or one.get("again_error") for one in kept
            )
            if not failed:
                self._cache.write_note(kept, "plain", *key)
        return kept

    # Trees.

    def _plain(self) -> Trees:
        home = self._scratch / "plain"
        if not home.exists():
            self._materialise(self._built.naive, home)
        return Trees(opt=home / "opt", task=home / "task")

    def _tried(self, payload: Payload) -> Trees:
        """One of several, of which only the last is needed."""
        shutil.rmtree(self._scratch / f"tried-{self._tries}", ignore_errors=True)
        self._tries += 1
        # Another name each time: an engine has its files by the folder's.
        home = self._scratch / f"tried-{self._tries}"
        self._materialise(payload, home)
        return Trees(opt=home / "opt", task=home / "task")

    def _materialise(self, payload: Payload, home: Path) -> None:
        (home / "opt").mkdir(parents=True)
        (home / "task").mkdir()
        payload.materialise(home / "opt")
        Payload(self._built.function or ()).materialise(home / "task")

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


def _raise_if_left_out(message: str) -> None:
    """What is called of code that the recipe leaves out is known without looking for it."""
    if any(text in message for text in _LEFT_OUT):
        hint = "Do what it says, or build with --no-verify to look at the layers."
        raise VerificationError(message, hint)


def _as_dicts(times: Iterable[ImportTime]) -> list[dict[str, Any]]:
    return [asdict(one) for one in times]


def _by_path(times: Iterable[ImportTime]) -> list[tuple[tuple[str, ...], float]]:
    """Each with the names that lead to it."""
    found = []
    path: tuple[str, ...] = ()
    for one in times:
        path = (*path[: one.depth], one.name)
        found.append((path, one.milliseconds))
    return found


def _advice(ran: Ran) -> str:
    if "multiprocessing" in ran.payload or "shared_memory" in ran.payload:
        return (
            "Lambda has no /dev/shm: locks, queues, pools and shared memory of multiprocessing "
            "fail there. Use threads, or Process with Pipe."
        )
    return "Mend the function or the event, or build with --no-verify."
