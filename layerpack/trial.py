"""A recipe's function tried out in a tree: its workloads, its imports, and what they take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.emulator.environment import Environment, Invocation
from layerpack.emulator.processor import MB_A_PROCESSOR
from layerpack.emulator.sandbox import Isolation, Program, Settings
from layerpack.emulator.trees import Trees
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.import_times import ImportTime, import_tree
from layerpack.isolation import Isolator
from layerpack.processor_levels import flags_in
from layerpack.recipe import Recipe

#: What is proven is the layers, not the function's configuration.
_SETTINGS: Final = Settings(memory_mb=10240, timeout=300.0, tmp_mb=10240)
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
    def failure(self) -> str:
        """The handler's error, with the line of the function that it comes from."""
        try:
            error = json.loads(self.payload if self.error_type else self.again or "")
            lines = [" ".join(line.split()) for line in error.get("stackTrace") or ()]
            # The function's own last line tells its author more than the depth of a library.
            own = [line for line in lines if "/task/" in line] or lines
            where = f" ({own[-1]})" if own else ""
            return f"{error['errorType']}: {error['errorMessage']}{where}"
        except (ValueError, KeyError, TypeError, AttributeError):
            return self.error_type or self.again_error


class Trial:
    """Runs a recipe's function in trees; `scratch` is a folder for its own files."""

    def __init__(
        self, recipe: Recipe, *, cache: Cache, events: Events, scratch: Path, isolator: Isolator
    ) -> None:
        self._recipe = recipe
        self._scratch = scratch
        self._isolator = isolator
        self._client = runtime_folder(recipe.profile, cache, events)
        self._printed = bytearray()
        #: The version of the Python that runs, and what the processor has; known after `failing`.
        self.python = ""
        self.processor: frozenset[str] = frozenset()
        self.workloads = {
            one.name: (recipe.folder / one.event).read_bytes() for one in recipe.workloads
        }

    @property
    def isolation(self) -> Isolation:
        """The kind of sandbox, once something ran."""
        return self._isolator.isolation

    @property
    def runs(self) -> str:
        """What names the Python that runs, for keys, once something ran."""
        return self._isolator.python()

    @property
    def client(self) -> str:
        """What names AWS's client and what comes with it, for keys."""
        return self._client.parent.name

    def failing(self, trees: Trees, modules: list[str]) -> dict[str, str]:
        """The modules that do not import, each with the reason. Raises VerificationError."""
        task = self._scratch / "imports"
        if not task.exists():
            task.mkdir()
            shutil.copy(_IMPORTS, task / "layerpack_imports.py")
        event = {"modules": modules, "seconds": _MODULE_SECONDS}
        handler = "layerpack_imports.handler"
        environment = self._environment(replace(trees, task=task), handler, _SETTINGS)
        try:
            answer = environment.invoke(json.dumps(event).encode())
        finally:
            environment.close()
        if answer.error_type:
            raise VerificationError(
                f"the modules cannot be imported: {answer.payload.decode()}", "Try --no-verify."
            )
        told = json.loads(answer.payload)
        self.python, self.processor = told["python"], flags_in(told["processor"])
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

    def imports(self, trees: Trees) -> tuple[ImportTime, ...]:
        """What the function imports, and how long that takes."""
        settings = self._configured({"PYTHONPROFILEIMPORTTIME": "1"})
        self._invoked(trees, settings, only=next(iter(self.workloads)))
        assert self._recipe.function is not None  # noqa: S101 (workloads need one)
        module = self._recipe.function.handler.rpartition(".")[0]
        return import_tree(self._printed.decode(errors="replace"), module)

    def initialises(self, trees: Trees) -> str:
        """Have the function imported, with no event of its own: why that fails, empty if not."""
        assert self._recipe.function is not None  # noqa: S101
        handler = self._recipe.function.handler
        environment = self._environment(trees, handler, self._configured({}))
        try:
            return environment.initialise()
        finally:
            environment.close()

    def _configured(self, variables: Mapping[str, str]) -> Settings:
        """The function's settings, with its own variables and these."""
        own = self._recipe.function.environment if self._recipe.function else {}
        timeout = self._recipe.verify.timeout
        return replace(_SETTINGS, timeout=timeout, variables={**own, **variables})

    def _invoked(self, trees: Trees, settings: Settings, *, only: str = "") -> list[Ran]:
        assert self._recipe.function is not None  # noqa: S101 (workloads need one)
        ran = []
        environment = self._environment(trees, self._recipe.function.handler, settings)
        try:
            for name, event in self.workloads.items():
                if only in ("", name):
                    first = environment.invoke(event)
                    again = None if first.error_type else environment.invoke(event)
                    ran.append(_ran(name, first, again))
        finally:
            environment.close()
        return ran

    def _environment(self, trees: Trees, handler: str, settings: Settings) -> Environment:
        program = Program(
            name=self._recipe.name,
            runtime=self._recipe.runtime,
            handler=handler,
            opt=trees.opt,
            task=trees.task,
            client=self._client,
        )
        self._printed.clear()
        return self._isolator.environment(program, settings, self._printed.extend)


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
        read_mb=round(last.read_bytes / 1e6, 1),
    )


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 1)
