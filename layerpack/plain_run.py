"""The plain install, run under Lambda's conditions: a function must work there before anything is
packed, and what it does there is what the layers are compared with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

from layerpack import process
from layerpack.cache import Cache
from layerpack.emulator.trees import Trees
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.function_errors import advice, described, is_timeout, last_words
from layerpack.import_times import ImportTime
from layerpack.interpreters import find_interpreter
from layerpack.isolation import Wanted
from layerpack.origins import explained
from layerpack.payload import FileEntry, Payload, is_library_name, module_names
from layerpack.processor_levels import LEVELS, Level, lacking, variables
from layerpack.recipe import Recipe
from layerpack.trial import Ran, Trial, open_trial
from layerpack.workload import network_hint

# Of the cached results.
_FORMAT: Final = 7
_SOURCES: Final = (".py", "/__init__.py")
_COMPILE: Final = (
    *("-I", "-S", "-m", "compileall", "-q", "-j", "0"),
    *("--invalidation-mode", "unchecked-hash"),
)

#: Why a run in a plain process proves less than layerpack promises.
NOT_ISOLATED: Final = (
    "without isolation, the programs of this machine are visible and the network is reachable"
)

#: What stays unproven where mapped files cannot be held against Lambda's.
UNJUDGED: Final = "libraries and programs that ran were not compared with Lambda's"


def not_proven(
    reason: str,
    hint: str = "Build where the function can run, or ask for less (verify.required, cpu).",
) -> VerificationError:
    """The error for a build that must be proven, and is not."""
    return VerificationError(
        f"the layers are not verified, as the recipe or --require-verified asks: {reason}", hint
    )


class PlainRun:
    """Runs the function of a recipe in its plain install (`naive`). Results are cached."""

    def __init__(
        self, trial: Trial, naive: Payload, function: tuple[FileEntry, ...] | None
    ) -> None:
        self.trial = trial
        self.naive = naive
        self._recipe = trial.recipe
        self._function = function
        self._warned = False
        #: The `processor`, `python` and `date` of the last answers that were asked for.
        self.measured: dict[str, str] = {}

    @property
    def judges(self) -> bool:
        """Whether a proof tells what the layers lack of libraries and programs, as this machine's
        cannot stand in for them; valid after `check`."""
        trial = self.trial
        return not (trial.obstacle or trial.isolation == "process" or trial.system.unjudged)

    def check(self, *, required: bool = False) -> None:
        """Import the function, or run its workloads, unless nothing can run here.

        Raises VerificationError for a function that fails by itself, and where a proof is
        `required` and cannot be had.
        """
        if self.trial.obstacle:
            if required:
                raise not_proven(self.trial.obstacle)
            self.unprovable()
            return
        self.trial.probe()
        if required and self.trial.isolation == "process":
            raise not_proven(NOT_ISOLATED)
        if required and (reason := self.trial.system.unjudged):
            raise not_proven(f"{UNJUDGED}: {reason}")
        for level in self._recipe.cpu_levels if required else ():
            if reason := self.lacking(level):
                raise not_proven(f"at {level}: {reason}")
        self.unprovable()
        if self._function is None:
            return
        if not self._recipe.workloads:
            self.trial.events.step("importing the function in the plain install")
            self.initialises()
            return
        self.trial.events.step("running the workloads on the plain install")
        for ran in self.answers(self.held()):
            if ran.fails:
                raise self.failure(ran)

    def unprovable(self) -> str:
        """Why nothing of the layers can run here, as a clause; empty where it can. The first call
        warns of it.

        Their libraries end a process on a processor that lacks all levels that the recipe's `cpu`
        keeps.
        """
        reason = self.trial.obstacle or self._lacks_all()
        if reason and not self._warned:
            self._warned = True
            self.trial.events.warn(f"the layers are not verified: {reason}")
        return reason

    def _lacks_all(self) -> str:
        levels = self._recipe.cpu_levels
        if self._recipe.native.store == "plain" or not levels:
            return ""
        self.trial.probe()
        lacks = [lacking(level, self.trial.processor) for level in levels]
        return f"this processor lacks {', '.join(lacks[0])} for {levels[0]}" if all(lacks) else ""

    def failure(self, ran: Ran) -> VerificationError:
        """The error for a workload that fails in the plain install."""
        message = f"workload {ran.name} fails in the plain install: {ran.failure}"
        return self._explained(message + last_words(ran.last_words), ran.error)

    def initialises(self) -> None:
        """Import the function. Raises VerificationError where that fails."""
        self._cached("initialisation", self.initialises_now)

    def initialises_now(self) -> None:
        """Import the function, whatever is cached. Raises VerificationError where that fails."""
        error, words = self.trial.initialises(self.trees())
        if error:
            message = f"the function does not import in the plain install: {described(error)}"
            raise self._explained(message + last_words(words), error)

    def answers(self, settings: Mapping[str, str]) -> list[Ran]:
        """Every workload with those variables."""

        def run() -> list[dict[str, Any]]:
            return [asdict(one) for one in self.trial.ran(self.trees(), variables=settings)]

        note = self._noted(f"answers {dict(settings)}", run)
        self.measured = note["measured"]
        return [Ran(**one) for one in note["value"]]

    def compiled(self, settings: Mapping[str, str]) -> dict[str, float | None] | None:
        """What the first workload takes where all that it imports has valid bytecode; None without
        an interpreter of the runtime's version on this machine."""
        interpreter = find_interpreter(self._recipe.profile)
        if interpreter is None:
            return None

        def run() -> dict[str, Any]:
            trees = self._compiled_trees(interpreter)
            name = next(iter(self.trial.workloads))
            (ran,) = self.trial.ran(trees, only=name, variables=settings)
            return asdict(ran)

        return Ran(**self._cached(f"compiled {dict(settings)}", run)).numbers

    def answers_now(self, name: str, settings: Mapping[str, str]) -> Ran:
        """One workload, run again."""
        (ran,) = self.trial.ran(self.trees(), only=name, variables=settings)
        return ran

    def imports(self) -> list[ImportTime]:
        """What the function imports, and how long that takes."""
        return [ImportTime(**one) for one in self._imports()["times"]]

    def with_memory(self, size: int) -> Ran:
        """The first workload with a function's memory of `size` MB."""
        run = self.trial.with_memory
        return Ran(**self._cached(f"memory {size}", lambda: asdict(run(self.trees(), size))))

    def failing(self, modules: list[str]) -> dict[str, str]:
        """The modules that do not import, each with the reason."""
        return self.trial.failing(self.trees(), modules)

    # Levels of the processor.

    def held(self) -> dict[str, str]:
        """What holds the plain install to what the recipe's `cpu` leaves of the layers' kernels:
        the highest level that this processor has."""
        has = [x for x in self._recipe.cpu_levels if not lacking(x, self.trial.processor)]
        if not has or self._recipe.native.store == "plain":
            return {}
        order = LEVELS[self._recipe.architecture]
        return self.variables(max(has, key=order.index))

    def lacking(self, level: Level) -> str:
        """Why nothing can be verified at a level on this processor; empty where it can."""
        lacks = lacking(level, self.trial.processor)
        return f"this processor lacks {', '.join(lacks)}" if lacks else ""

    def variables(self, level: Level) -> dict[str, str]:
        """The variables that hold the plain install's libraries to a level."""
        return variables(level, (one.source for one in self.naive if is_library_name(one.path)))

    # Trees.

    def trees(self) -> Trees:
        """The plain install as folders."""
        home = self.trial.scratch / "plain"
        if not home.exists():
            return self.trial.laid_out(self.naive, self._function, home)
        return Trees(opt=home / "opt", task=home / "task")

    def _imports(self) -> Any:
        """What the function imports: `times`, and the names of all `modules`."""

        def run() -> dict[str, Any]:
            times, modules = self.trial.imports(self.trees())
            return {"times": [asdict(one) for one in times], "modules": sorted(modules)}

        return self._cached("imports", run)

    def _compiled_trees(self, interpreter: Path) -> Trees:
        """The plain install with unchecked-hash bytecode of all that the first workload imports."""
        plain, home = self.trees(), self.trial.scratch / "compiled"
        trees = Trees(opt=home / "opt", task=home / "task")
        for source, target in ((plain.opt, trees.opt), (plain.task, trees.task)):
            shutil.copytree(source, target, copy_function=os.link)
        names = [name.replace(".", "/") for name in self._imports()["modules"]]
        paths = [f"{self.naive.site}/{name}{end}" for name in names for end in _SOURCES]
        files = home / "files"
        found = [str(trees.opt / path) for path in paths if path in self.naive]
        files.write_text("\n".join(found), encoding="utf-8")
        # What does not compile is compiled at no start either.
        process.run([interpreter, *_COMPILE, "-i", files])
        return trees

    def _explained(self, message: str, error: str) -> VerificationError:
        entries = (*self.naive, *(self._function or ()))
        problem = VerificationError(message, self._advice(error))
        return explained(problem, self._recipe.profile, self.trial.system, entries)

    def _advice(self, error: str) -> str:
        late = is_timeout(error)
        network = network_hint(self._recipe, self.trial.printed if late else described(error))
        if network and not late:
            return network
        handler = self._recipe.function.handler if self._recipe.function else ""
        hint = advice(
            *(error, self._modules()),
            handler=handler,
            timeout=self._recipe.verify.timeout,
            excluded=self._recipe.resolve.exclude,
        )
        return f"{network} {hint}".strip()

    def _modules(self) -> Collection[str]:
        own = {entry.path.partition("/")[0].partition(".")[0] for entry in self._function or ()}
        return {*module_names(self.naive), *own}

    def _cached(self, what: str, run: Callable[[], Any]) -> Any:
        """A result of the plain install, which only changes with it (and this machine)."""
        return self._noted(what, run)["value"]

    def _noted(self, what: str, run: Callable[[], Any]) -> Any:
        """The same as the `value` of an object, with how it was `measured`."""
        entries = [(entry.path, entry.sha256) for entry in self.naive]
        function = [(entry.path, entry.sha256) for entry in self._function or ()]
        events = {k: v.decode(errors="replace") for k, v in self.trial.workloads.items()}
        own = self._recipe.function
        handler = [own.handler, own.environment] if own else []
        key = (
            *(_FORMAT, what, entries, function, self._recipe.name, handler, events),
            # What the answers of numeric code may depend on, and what else the function may import.
            *(self.trial.runs, self.trial.isolation),
            *(sorted(self.trial.processor), self.trial.client),
            *(self._recipe.verify.network, self._recipe.verify.timeout),
        )
        note = self.trial.cache.read_note("plain", *key)
        if note is None:
            measured = {
                "processor": self.trial.processor_name,
                "python": self.trial.python,
                "date": date.today().isoformat(),
            }
            note = {"value": run(), "measured": measured}
            if not _failed(note["value"]):
                self.trial.cache.write_note(note, "plain", *key)
        return note


def _failed(value: Any) -> bool:
    """Whether a result is of a workload that failed, or several of which one did."""
    each = value if isinstance(value, list) else [value]
    return any(
        isinstance(one, dict) and (one.get("error_type") or one.get("again_error")) for one in each
    )


@contextmanager
def open_plain_run(
    recipe: Recipe,
    naive: Payload,
    function: tuple[FileEntry, ...] | None,
    *,
    cache: Cache,
    events: Events,
    wanted: Wanted = "auto",
    image: str = "",
    built_in: str = "",
) -> Iterator[PlainRun]:
    """The plain install of a build, ready to run (see `open_trial`)."""
    with open_trial(
        recipe, cache=cache, events=events, wanted=wanted, image=image, built_in=built_in
    ) as trial:
        yield PlainRun(trial, naive, function)
