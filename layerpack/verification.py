"""Proof before it ships: the layers do what the plain install does, under Lambda's conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from layerpack.answers import Answered, Answers
from layerpack.compare import BUILT, Differences, Sides, differences, only, unmatched
from layerpack.culprit import Culprit
from layerpack.emulator.trees import Trees, unzip
from layerpack.errors import VerificationError
from layerpack.function_errors import described, last_words
from layerpack.import_times import ImportTime
from layerpack.isolation import Wanted
from layerpack.limits import LARGEST_MEMORY_MB, MEMORY_MB
from layerpack.manifest import Manifest
from layerpack.origins import explained, refuse_foreign, unfound_programs
from layerpack.output import Built
from layerpack.payload import FileEntry, module_names
from layerpack.plain_run import NOT_ISOLATED, UNJUDGED, PlainRun
from layerpack.processor_levels import Level
from layerpack.trial import Ran

#: Whose answers differ where the plain install's own do.
_RUNS: Final[Sides] = ("one run", "the next")
#: Sizes of memory that are advised are multiples of it, in MB.
_MEMORY_STEP: Final = 64
# Text of the error raised when removed code is called; the message names the recipe key that brings
# the code back (operators/reduce.py, elf/pager/drops.c).
_LEFT_OUT: Final = ("was left out of this layer", "code that was left out of it is missed")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofOptions:
    """What the user asks of a proof: the sandbox, the image of a container (empty: the one that
    was built in), the memory sizes to measure with, in MB (none: the recipe's), and whether to
    measure what bringing code in takes."""

    wanted: Wanted = "auto"
    image: str = ""
    memory: Sequence[int] = ()
    timings: bool = False


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
    plain: PlainRun,
    *,
    memory: Sequence[int] = (),
    timings: bool = False,
) -> Proof:
    """Prove what lies in the build `folder` against the `plain` install, and return the record for
    its manifest; `memory` are sizes in MB to measure with (none: the recipe's); `timings`: measure
    what bringing code in takes.

    Raises VerificationError for a module that imports from the plain install and not from the
    layers, a function or a workload that fails, and one that the two answer differently; it names
    the pass and the file that make the difference, where that can be found.
    """
    if reason := plain.unprovable():
        return _not_verified(reason)
    proof = _Proof(built, plain, memory or built.recipe.verify.memory, timings=timings)
    return proof.run(folder, manifest)


def unproven(record: Mapping[str, Any]) -> str:
    """What a record leaves unproven of what the recipe asks for, with the reason; empty where that
    is nothing. Modules count as proven that do not import from the plain install either."""
    if reason := unjudged(record):
        return reason
    levels = (one for one in record.get("levels", ()) if one["state"] != "verified")
    return next((f"at {one['level']}: {one['reason']}" for one in levels), "")


def unjudged(record: Mapping[str, Any]) -> str:
    """Why a record does not tell what the layers lack of libraries and programs: nothing ran, or
    this machine's may have stood in for them. Empty where it tells."""
    if record.get("state") != "verified":
        return str(record.get("reason", "it was built without"))
    if record.get("isolation") == "process":
        return NOT_ISOLATED
    reason = record.get("unjudged")
    return f"{UNJUDGED}: {reason}" if reason else ""


def _not_verified(reason: str) -> Proof:
    return Proof(record={"state": "not verified", "reason": reason})


class _Proof:
    """One verification; `memory` are sizes to measure, in MB."""

    def __init__(
        self, built: Built, plain: PlainRun, memory: Sequence[int], *, timings: bool
    ) -> None:
        self._built = built
        self._recipe = built.recipe
        self._memory = memory
        self._timings = timings
        self._plain = plain
        self._trial = plain.trial
        self._events = plain.trial.events
        self._culprit = Culprit(built, plain.trial)
        self._answers: Answers | None = None

    def run(self, folder: Path, manifest: Manifest) -> Proof:
        """What was found. Raises VerificationError."""
        self._events.step("verifying: importing every module")
        packed = unzip(folder, manifest, self._trial.scratch / "packed")
        modules = self._modules()
        failed = self._trial.failing(packed, modules)
        # Only what fails is of interest in the plain install.
        plain_failed = self._plain.failing(sorted(failed)) if failed else {}
        for module, problem in failed.items():
            if module not in plain_failed:
                self._raise_import(module, problem)
            what = f"{module} does not import"
            refuse_foreign(what, problem, self._recipe, self._trial.system, self._entries())
        if len(plain_failed) == len(modules) and self._built.function is None:
            reason = "no module of it imports, so nothing was tried"
            self._events.warn(f"the layers are not verified: {reason}")
            return _not_verified(reason)
        workloads = self._workloads(packed)
        unjudged = self._trial.system.unjudged
        if unjudged:
            self._events.warn(f"{UNJUDGED}: {unjudged}")
        record = {
            "state": "verified",
            "isolation": self._trial.isolation,
            "python": self._trial.python,
            "modules": len(modules),
            "not_importable": dict(sorted(plain_failed.items())),
            "function": self._built.function is not None,
            **({"unjudged": unjudged} if unjudged else {}),
            **workloads,
        }
        return Proof(record=record, answers=self._answers)

    # Modules.

    def _modules(self) -> list[str]:
        """The top-level modules that the plain install has, and the layers still have files of."""
        naive, payload = self._built.naive, self._built.outcome.payload
        left = set(module_names(payload))
        return sorted(set(module_names(naive)) & left)

    def _raise_import(self, module: str, problem: str) -> None:
        def again(trees: Trees) -> Differences:
            failing = self._trial.failing(trees, [module])
            return only(failing[module]) if failing else Differences()

        what = f"{module} does not import any more"
        self._raise(what, only(problem), again, is_error=True)

    # Workloads.

    def _workloads(self, packed: Trees) -> dict[str, Any]:
        if not self._recipe.workloads or self._built.function is None:
            self._initialised(packed)
            return {"workloads": [], "levels": [], "imports": [], "memory": []}
        self._events.step("verifying: running the workloads on the layers")
        ours = self._trial.ran(packed)
        self._tell_unfound_programs()
        self._tell_memory(ours)
        held = self._plain.held()
        workloads: list[dict[str, Any]] = [
            {"name": one.name, "equal": equal, "packed": one.numbers, "plain": other.numbers}
            for one, other, equal in self._compared(ours, held)
        ]
        baseline = self._plain.measured
        ignored = self._ignored(ours)
        self._answers = Answers(
            tolerance=self._recipe.verify.tolerance,
            ignore=self._recipe.verify.ignore,
            workloads=tuple(self._answered(one) for one in ours),
        )
        self._events.step("measuring the plain install with bytecode")
        workloads[0]["plain_compiled"] = self._plain.compiled(held)
        self._events.step("measuring the function's imports")
        return {
            "baseline": baseline,
            "ignored": ignored,
            "workloads": workloads,
            "levels": [self._at_level(packed, level) for level in self._recipe.cpu_levels],
            "imports": self._imports(packed),
            "memory": [self._with_memory(packed, size) for size in self._memory],
            **self._paging(packed),
        }

    def _tell_memory(self, ran: Sequence[Ran]) -> None:
        """Warn of a workload that takes more memory than a function gets unless told otherwise, and
        than the sizes that the user names."""
        most = max(ran, key=lambda one: one.memory_mb)
        if most.memory_mb > max((MEMORY_MB, *self._memory)):
            enough = min(-(-most.memory_mb // _MEMORY_STEP) * _MEMORY_STEP, LARGEST_MEMORY_MB)
            self._events.warn(
                f"workload {most.name} takes {most.memory_mb:,} MB of memory, and invoke, serve "
                f"and publish give a function {MEMORY_MB:,} MB unless told otherwise: give these "
                f"--memory {enough} or more, and name that in verify.memory"
            )

    def _ignored(self, ran: Iterable[Ran]) -> list[str]:
        """The paths of `verify.ignore` that name a field; others are warned of."""
        ignore = self._recipe.verify.ignore
        wrong = unmatched(ignore, [one.payload.encode() for one in ran])
        for path in wrong:
            self._events.warn(f"verify.ignore: '{path}' names no field of any answer")
        return [path for path in ignore if path not in wrong]

    def _answered(self, ran: Ran) -> Answered:
        event = self._trial.workloads[ran.name].decode()
        return Answered(
            name=ran.name, event=event, answer=ran.payload, again=ran.again or ran.payload
        )

    def _at_level(self, packed: Trees, level: Level) -> dict[str, Any]:
        """The workloads with libraries held to a level of the processor."""
        if reason := self._plain.lacking(level):
            self._events.warn(f"the layers are not verified at {level}: {reason}")
            return {"level": level, "state": "not verified", "reason": reason}
        self._events.step(f"verifying at {level}")
        settings = self._plain.variables(level)
        ours = self._trial.ran(packed, variables=settings)
        compared = self._compared(ours, settings)
        return {
            "level": level,
            "state": "verified",
            "variables": settings,
            "equal": all(equal for _, _, equal in compared),
        }

    def _compared(
        self, ours: list[Ran], settings: Mapping[str, str]
    ) -> list[tuple[Ran, Ran, bool]]:
        """Each workload in both, and whether it is equal to the last digit. Raises
        VerificationError for what differs by more than it may."""
        compared = []
        for one, cached in zip(ours, self._plain.answers(settings), strict=True):
            known = cached
            if self._problem(one, known):
                # The cached one may be of another time or processor.
                known = self._plain.answers_now(one.name, settings)
            problem = self._problem(one, known)
            if problem and known.fails:
                raise self._plain.failure(known)
            if problem:
                self._raise_workload(problem, known, settings, is_error=one.fails)
            compared.append((one, known, not self._differs(one, known, 0.0)))
        return compared

    def _initialised(self, packed: Trees) -> None:
        """Without workloads the function's import is all that can be tried."""
        if self._built.function is None:
            return
        self._events.step("verifying: importing the function")
        self._plain.initialises()

        def problem(trees: Trees) -> Differences:
            error, words = self._trial.initialises(trees)
            return only(described(error), last_words(words)) if error else Differences()

        if found := problem(packed):
            # What is cached may be of another time.
            self._plain.initialises_now()
            what = "the function does not import any more"
            self._raise(what, found, problem, is_error=True)
        self._tell_unfound_programs()

    def _tell_unfound_programs(self) -> None:
        """Warn of programs that the function's shell did not find: the function goes on."""
        profile, trial = self._recipe.profile, self._trial
        for lack in unfound_programs(trial.printed, profile, trial.system, self._entries()):
            self._events.warn(
                f"the function's shell does not find {lack.name}: {lack.sentence(profile)}. "
                f"{lack.hint}"
            )

    def _problem(self, packed: Ran, plain: Ran, sides: Sides = BUILT) -> Differences:
        if packed.fails or plain.fails:
            failed = packed if packed.fails else plain
            return only(failed.failure, last_words(failed.last_words))
        return self._differs(packed, plain, self._recipe.verify.tolerance, sides)

    def _differs(
        self, packed: Ran, plain: Ran, tolerance: float, sides: Sides = BUILT
    ) -> Differences:
        """How the answers differ, or else the second ones."""
        pairs = ((plain.payload, packed.payload), (plain.again or "", packed.again or ""))
        ignore = self._recipe.verify.ignore
        found = (
            differences(x.encode(), y.encode(), tolerance, ignore=ignore, sides=sides)
            for x, y in pairs
        )
        return next((one for one in found if one), Differences())

    def _raise_workload(
        self, problem: Differences, plain: Ran, settings: Mapping[str, str], *, is_error: bool
    ) -> None:
        what = f"workload {plain.name}"
        _raise_if_left_out(f"{what}: {problem.text}")
        self._events.step(f"running {what} on the plain install again")
        again = self._plain.answers_now(plain.name, settings)
        if changing := self._problem(again, plain, _RUNS):
            fields = ", ".join(_as_yaml(path) for path in changing.ignore)
            ignore = f"ignore fields that differ by design (verify: {{ignore: [{fields}]}}), "
            raise VerificationError(
                f"{what}: the answer changes from run to run, also in the plain install: "
                f"{changing.text}",
                "Let the function answer the same each time (seed its random numbers), "
                f"{ignore if fields else ''}allow numbers to differ (verify.tolerance), or build "
                "with --no-verify.",
            )

        def in_trees(trees: Trees) -> Differences:
            (ran,) = self._trial.ran(trees, only=plain.name, variables=settings)
            return self._problem(ran, plain)

        self._raise(what, problem, in_trees, is_error=is_error)

    def _entries(self) -> tuple[FileEntry, ...]:
        return (*self._built.outcome.payload, *(self._built.function or ()))

    def _raise(
        self,
        what: str,
        problem: Differences,
        in_trees: Callable[[Trees], Differences],
        *,
        is_error: bool,
    ) -> NoReturn:
        """`is_error`: the problem is an error's text, not a difference of answers."""
        message = f"{what}: {problem.text}"
        _raise_if_left_out(message)
        error = VerificationError(message, self._culprit.hint(problem, in_trees))
        if is_error:
            error = explained(error, self._recipe.profile, self._trial.system, self._entries())
        raise error

    # What it takes.

    def _imports(self, packed: Trees) -> list[dict[str, Any]]:
        """The tree of packages of the layers, and beside it the plain install's times."""
        ours, _ = self._trial.imports(packed)
        plain = dict(_by_path(self._plain.imports()))
        return [
            {
                "name": one.name,
                "depth": one.depth,
                "packed_ms": one.milliseconds,
                "plain_ms": plain.get(path),
            }
            for one, (path, _) in zip(ours, _by_path(ours), strict=True)
        ]

    def _paging(self, packed: Trees) -> dict[str, Any]:
        if not self._timings:
            return {}
        self._events.step("measuring what bringing code in takes")
        return {"paging": [asdict(one) for one in self._trial.paging(packed)]}

    def _with_memory(self, packed: Trees, size: int) -> dict[str, Any]:
        self._events.step(f"measuring with {size} MB")
        ours = self._trial.with_memory(packed, size)
        if ours.fails:
            self._events.warn(f"with {size} MB the function fails: {ours.failure}")
        plain = self._plain.with_memory(size)
        return {"memory_mb": size, "packed": ours.numbers, "plain": plain.numbers}


def _raise_if_left_out(message: str) -> None:
    """What is called of code that the recipe leaves out is known without looking for it."""
    if any(text in message for text in _LEFT_OUT):
        hint = "Follow the message, or build with --no-verify to look at the layers."
        raise VerificationError(message, hint)


def _by_path(times: Iterable[ImportTime]) -> list[tuple[tuple[str, ...], float]]:
    """Each with the names that lead to it."""
    found = []
    path: tuple[str, ...] = ()
    for one in times:
        path = (*path[: one.depth], one.name)
        found.append((path, one.milliseconds))
    return found


def _as_yaml(path: str) -> str:
    """A path of `verify.ignore` as YAML takes it: quoted where it begins with a star or a digit."""
    return path if path[:1].isalpha() else f'"{path}"'
