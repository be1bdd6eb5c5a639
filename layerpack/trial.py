"""A recipe's function tried out in a tree: its workloads, its imports, and what they take."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from layerpack.bounded import Bounded
from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.emulator.environment import Environment, Invocation
from layerpack.emulator.host_system import System
from layerpack.emulator.processor import MB_A_PROCESSOR
from layerpack.emulator.sandbox import Isolation, Program, Settings
from layerpack.emulator.trees import Trees
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.function_errors import described, ended_by_itself, is_timeout
from layerpack.import_times import ImportTime, import_tree, imported
from layerpack.isolation import Isolator, Wanted
from layerpack.limits import LARGEST_MEMORY_MB
from layerpack.origins import need_own
from layerpack.paging_times import VARIABLES, PagingTime, paging_times
from layerpack.payload import FileEntry, Payload
from layerpack.processor_levels import flags_in, name_in
from layerpack.recipe import Recipe

#: What is proven is the layers, not the function's configuration.
_SETTINGS: Final = Settings(memory_mb=LARGEST_MEMORY_MB, timeout=300.0, tmp_mb=10240)
_MODULE_SECONDS: Final = 60
_IMPORTS: Final = Path(__file__).parent / "emulator" / "inside" / "imports.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A workload in one tree: the answer's JSON, and the type of its error (empty without one);
    the same of its second invocation (`again`, where there was one).

    What it took: milliseconds of initialisation (of the first workload in its environment; None
    for others), of the first and the second invocation; the most memory and what was read or
    mapped of files, both in MB, until then.
    """

    name: str
    payload: str
    error_type: str
    again: str | None
    again_error: str
    init_ms: float | None
    first_ms: float
    second_ms: float | None
    memory_mb: int
    read_mb: float
    last_words: str = ""
    """The last lines that its process printed, where that ended by itself."""

    @property
    def numbers(self) -> dict[str, float | None]:
        """What it took, for the manifest."""
        return {
            "init_ms": _rounded(self.init_ms),
            "first_ms": _rounded(self.first_ms),
            "second_ms": _rounded(self.second_ms),
            "memory_mb": self.memory_mb,
            "read_mb": self.read_mb,
        }

    @property
    def fails(self) -> bool:
        """Whether one of its invocations failed."""
        return bool(self.error_type or self.again_error)

    @property
    def error(self) -> str:
        """The handler's error as Lambda describes it, in JSON; empty without one."""
        if not self.fails:
            return ""
        return self.payload if self.error_type else self.again or self.again_error

    @property
    def failure(self) -> str:
        """The handler's error, with the line of the function that it comes from."""
        return described(self.error)


class Trial:
    """Runs a recipe's function in trees; `scratch` is a folder for its own files."""

    def __init__(
        self, recipe: Recipe, *, cache: Cache, events: Events, scratch: Path, isolator: Isolator
    ) -> None:
        self.recipe = recipe
        self.scratch = scratch
        self.cache = cache
        self.events = events
        self._isolator = isolator
        self._settings = replace(_SETTINGS, network=recipe.verify.network)
        self._printed = Bounded()
        #: When to end what still runs, by the monotonic clock; None: only by its own timeout.
        self.until: float | None = None
        #: The version of the Python that runs, and the processor: known after `failing`.
        self.python = ""
        self.processor_name = ""
        self.processor: frozenset[str] = frozenset()
        self.workloads = {
            one.name: (recipe.folder / one.event).read_bytes() for one in recipe.workloads
        }

    @cached_property
    def obstacle(self) -> str:
        """Why nothing can run here, as a clause; empty where something can."""
        return self._isolator.obstacle()

    @cached_property
    def _client(self) -> Path:
        """AWS's client and its dependencies. Raises ResolveError where the download fails."""
        return runtime_folder(self.recipe.profile, self.cache, self.events)

    @property
    def isolation(self) -> Isolation:
        """The kind of sandbox, once something ran."""
        return self._isolator.isolation

    @property
    def system(self) -> System:
        """What it runs on, once something ran."""
        return self._isolator.system

    @property
    def runs(self) -> str:
        """What names the Python that runs, for keys, once something ran."""
        return self._isolator.python()

    @property
    def client(self) -> str:
        """What names AWS's client and what comes with it, for keys."""
        return self._client.parent.name

    @property
    def printed(self) -> str:
        """What the function, and Lambda's log, said in the last environment (see Bounded)."""
        return self._printed.text

    def probe(self) -> None:
        """Find out what runs here (`isolation`, `python`, `processor`), unless something ran."""
        if not self.python:
            nothing = self.scratch / "nothing"
            nothing.mkdir()
            self.failing(Trees(opt=nothing, task=nothing), [])

    def failing(self, trees: Trees, modules: list[str]) -> dict[str, str]:
        """The modules that do not import, each with the reason. Raises VerificationError."""
        task = self.scratch / "imports"
        if not task.exists():
            task.mkdir()
            shutil.copy(_IMPORTS, task / "layerpack_imports.py")
        event = {"modules": modules, "seconds": self._bounded(_MODULE_SECONDS)}
        handler = "layerpack_imports.handler"
        settings = replace(self._settings, timeout=self._bounded(self._settings.timeout))
        environment = self._environment(replace(trees, task=task), handler, settings)
        try:
            answer = environment.invoke(json.dumps(event).encode())
        finally:
            environment.close()
        if self.until is not None and is_timeout(answer.payload.decode()):
            # Who set the time knows that it is over.
            return dict.fromkeys(modules, "it does not come to an end")
        if answer.error_type:
            raise VerificationError(
                f"the modules cannot be imported: {answer.payload.decode()}", "Try --no-verify."
            )
        told = json.loads(answer.payload)
        self._need_own(told["mapped"])
        self.python, self.processor = told["python"], flags_in(told["processor"])
        self.processor_name = name_in(told["processor"]) or self.recipe.architecture
        failing: dict[str, str] = told["failing"]
        return failing

    def ran(
        self, trees: Trees, *, only: str = "", variables: Mapping[str, str] | None = None
    ) -> list[Ran]:
        """Every workload, or only one, each invoked twice in one environment."""
        settings = self._configured(variables or {})
        return self._invoked(trees, settings, only=only)

    def with_memory(self, trees: Trees, memory_mb: int) -> Ran:
        """The first workload with the memory of a function's, and the processor that it brings."""
        share = memory_mb / MB_A_PROCESSOR
        settings = replace(self._configured({}), memory_mb=memory_mb, processors=share)
        (ran,) = self._invoked(trees, settings, only=next(iter(self.workloads)))
        return ran

    def imports(self, trees: Trees) -> tuple[tuple[ImportTime, ...], frozenset[str]]:
        """What the function imports, and how long that takes; and the names of all modules that it
        and the runtime import."""
        self._measure("imports take", trees, {"PYTHONPROFILEIMPORTTIME": "1"})
        assert self.recipe.function is not None  # noqa: S101 (workloads need one)
        module = self.recipe.function.handler.rpartition(".")[0].replace("/", ".")
        return import_tree(self.printed, module), imported(self.printed)

    def paging(self, trees: Trees) -> tuple[PagingTime, ...]:
        """What bringing code in takes, of the function's import and its first workload."""
        self._measure("bringing code in takes", trees, VARIABLES)
        return paging_times(self.printed, trees.opt)

    def _measure(self, what: str, trees: Trees, variables: Mapping[str, str]) -> None:
        """Have the function print `what` something takes, with its first workload."""
        settings = self._configured(variables)
        (ran,) = self._invoked(trees, settings, only=next(iter(self.workloads)))
        if ran.fails:
            self.events.warn(f"what {what} is not complete, as the function fails: {ran.failure}")

    def initialises(self, trees: Trees) -> tuple[str, str]:
        """Have the function imported, with no event of its own: its error as Lambda describes it,
        in JSON (empty where it has none), and the last lines that it printed."""
        assert self.recipe.function is not None  # noqa: S101
        handler = self.recipe.function.handler
        environment = self._environment(trees, handler, self._configured({}))
        try:
            problem = environment.initialise()
            words = environment.last_words
        finally:
            environment.close()
        self._need_own(dict.fromkeys(environment.mapped, "the function"))
        return problem, words if ended_by_itself(problem) else ""

    def laid_out(
        self, payload: Payload, function: tuple[FileEntry, ...] | None, home: Path
    ) -> Trees:
        """A payload and the function's files, copied below `home`."""
        trees = Trees(opt=home / "opt", task=home / "task")
        trees.opt.mkdir(parents=True)
        trees.task.mkdir()
        payload.materialise(trees.opt)
        Payload(function or ()).materialise(trees.task)
        return trees

    def _configured(self, variables: Mapping[str, str]) -> Settings:
        """The function's settings, with its own variables and these."""
        own = self.recipe.function.environment if self.recipe.function else {}
        timeout = self._bounded(self.recipe.verify.timeout)
        return replace(self._settings, timeout=timeout, variables={**own, **variables})

    def _bounded(self, seconds: float) -> float:
        """So many seconds, or fewer where `until` comes earlier; at least one."""
        if self.until is None:
            return float(seconds)
        return min(float(seconds), max(1.0, self.until - time.monotonic()))

    def _invoked(self, trees: Trees, settings: Settings, *, only: str = "") -> list[Ran]:
        assert self.recipe.function is not None  # noqa: S101 (workloads need one)
        ran = []
        environment = self._environment(trees, self.recipe.function.handler, settings)
        try:
            for name, event in self.workloads.items():
                if only in ("", name):
                    first = self._as_on_lambda(environment.invoke(event), trees)
                    again = None
                    if not first.error_type:
                        again = self._as_on_lambda(environment.invoke(event), trees)
                    ran.append(_ran(name, first, again))
        finally:
            environment.close()
        self._need_own(dict.fromkeys(environment.mapped, "the function"))
        return ran

    def _need_own(self, mapped: Mapping[str, str]) -> None:
        """Raise VerificationError where code of the system ran that Lambda does not have; `mapped`
        is file -> user."""
        need_own(mapped, self.recipe, self.system, isolated=self.isolation != "process")

    def _as_on_lambda(self, invocation: Invocation, trees: Trees) -> Invocation:
        """An answer with Lambda's paths, where the sandbox has others: they differ by tree."""
        if self.isolation != "process":
            return invocation
        payload = invocation.payload.replace(str(trees.opt).encode(), b"/opt")
        payload = payload.replace(str(trees.task).encode(), b"/var/task")
        return replace(invocation, payload=payload)

    def _environment(self, trees: Trees, handler: str, settings: Settings) -> Environment:
        program = Program(
            name=self.recipe.name,
            runtime=self.recipe.runtime,
            handler=handler,
            opt=trees.opt,
            task=trees.task,
            client=self._client,
            checks_handler=True,
        )
        self._printed.clear()
        return self._isolator.environment(program, settings, self._printed.extend)


@contextmanager
def open_trial(
    recipe: Recipe,
    *,
    cache: Cache,
    events: Events,
    wanted: Wanted = "auto",
    image: str = "",
    built_in: str = "",
) -> Iterator[Trial]:
    """A trial in a sandbox of the `wanted` kind, gone afterwards; `image` is a container's that is
    asked for, `built_in` the one that the layers were built in (both empty: none)."""
    isolator = Isolator(
        *(wanted, recipe.profile, events, cache),
        image=image,
        built_in=built_in,
        # A plain process cannot do without it, which its warning says.
        must_cut=False,
    )
    with closing(isolator), cache.scratch() as scratch:
        yield Trial(recipe, cache=cache, events=events, scratch=scratch, isolator=isolator)


def _ran(name: str, first: Invocation, second: Invocation | None) -> Ran:
    last = second or first
    return Ran(
        name=name,
        payload=first.payload.decode(errors="replace"),
        error_type=first.error_type,
        again=second.payload.decode(errors="replace") if second else None,
        again_error=second.error_type if second else "",
        init_ms=first.init_ms,
        first_ms=first.duration_ms,
        second_ms=second.duration_ms if second and not second.error_type else None,
        memory_mb=max(first.memory_mb, last.memory_mb),
        last_words=last.last_words,
        read_mb=round(last.read_bytes / 1e6, 1),
    )


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 1)
