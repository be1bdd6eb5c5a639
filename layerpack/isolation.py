"""Which sandbox a function runs in: a container where its layers are built in one, else what this
machine has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from layerpack.cache import Cache
from layerpack.emulator.environment import Environment
from layerpack.emulator.host_system import System, this_system
from layerpack.emulator.sandbox import (
    ISOLATIONS,
    CannotIsolateError,
    Isolation,
    Program,
    Running,
    Settings,
    start,
)
from layerpack.errors import BuildToolError, LayerpackError, UsageError
from layerpack.events import Events
from layerpack.interpreters import find_interpreter, interpreter_version, require_interpreter
from layerpack.limits import RuntimeProfile, this_machine

if TYPE_CHECKING:
    from layerpack.docker_engine import Engine, Image
    from layerpack.emulator.docker import Carrier
    from layerpack.emulator.image_system import ImageSystem

#: What is asked for; `auto` takes the best that can be had.
Wanted = Literal["auto", "docker", "namespaces", "bubblewrap", "process"]

_NOT_IMITATED: Final = (
    "no isolation: the function reaches the network, sees this machine's files, programs and "
    "/dev/shm, may write to its own folders, and runs as you, at other paths than on Lambda"
)
_REQUESTED: Final = "process isolation was requested"
_ADVICE: Final = (
    "`layerpack doctor` shows the engine; --image names another image, and --isolation namespaces "
    "does without."
)
# Trees whose files an engine has at a time: the plain install's, the layers', one that is tried.
_CARRIERS: Final = 3


class Isolator:
    """Starts environments for functions of a runtime, each in a sandbox of the same kind.

    `image` is one that is asked for, and so a container is; `built_in` is the one that the layers
    were built in (both empty: none). With `must_cut`, a network that a function must not reach and
    that cannot be cut is an error. The `cache` remembers the containers. Call `close` at the end.
    """

    def __init__(
        self,
        wanted: Wanted,
        profile: RuntimeProfile,
        events: Events,
        cache: Cache,
        *,
        image: str = "",
        built_in: str = "",
        must_cut: bool = True,
    ) -> None:
        self._wanted: Wanted = "docker" if image and wanted == "auto" else wanted
        self._profile = profile
        self._events = events
        self._cache = cache
        self._image_name = image or built_in
        self._must_cut = must_cut
        self._chosen: Isolation | None = None
        self._engine: Engine | None = None
        self._image: Image | None = None
        self._image_system: ImageSystem | None = None
        self._carriers: dict[Program, Carrier] = {}
        self._failed: BuildToolError | None = None

    @property
    def isolation(self) -> Isolation:
        """Sandbox kind; valid after the first `environment()`."""
        return self._chosen or "process"

    def environment(
        self, program: Program, settings: Settings, log: Callable[[bytes], None]
    ) -> Environment:
        """A new environment (see Environment), isolated as well as can be; the first call
        warns of the conditions that are not imitated.

        Raises BuildToolError where the requested isolation or the Python is unavailable, and
        UsageError where this machine cannot run the runtime's programs.
        """
        if self._chosen is not None:
            return Environment(program, settings, self._starter(self._chosen, program), log)
        why: list[str] = []
        for isolation in self._candidates():
            try:
                starter = self._starter(isolation, program)
                environment = Environment(program, settings, starter, log)
            except CannotIsolateError as error:
                why.append(f"{isolation}: {error}")
            except BuildToolError as error:
                if self._wanted != "auto":
                    raise
                why.append(f"{isolation}: {error.message}")
            else:
                self._chosen = isolation
                self._tell(why, settings, environment)
                return environment
        raise self._refusal(why)

    def prepare(self, program: Program) -> None:
        """Do before the first environment what may take long; what fails, fails there.

        Raises BuildToolError and UsageError where nothing can run it.
        """
        if self._candidates()[0] == "docker":
            try:
                self._carrier(program)
            except BuildToolError as error:
                self._failed = error

    def obstacle(self) -> str:
        """Why nothing can be run, as a clause; empty where something can, and where something was
        asked for (which then says itself why it cannot)."""
        problem = self._problem()
        if problem is None or self._wanted != "auto":
            return ""
        if not self._image_name:
            return problem.message
        try:
            self._try_container()
        except LayerpackError as error:
            return f"{problem.message}, and {error.message}"
        return ""

    def python(self) -> str:
        """Identifier of the Python in use: the image's digest or the interpreter's version."""
        if self._chosen == "docker" and self._image is not None:
            return self._image.digest
        interpreter = find_interpreter(self._profile)
        return interpreter_version(interpreter) if interpreter else ""

    @property
    def system(self) -> System:
        """What the functions run on: the image or this machine; valid as `isolation` is."""
        if self._chosen == "docker" and self._image_system is not None:
            return self._image_system.described
        interpreter = require_interpreter(self._profile, "to run the function")
        return this_system(interpreter, self._profile.runtime)

    def close(self) -> None:
        """Remove what an engine has of it."""
        for carrier in self._carriers.values():
            carrier.close()
        self._carriers.clear()
        if self._image_system is not None:
            self._image_system.close()
            self._image_system = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _candidates(self) -> list[Isolation]:
        """The kinds to try. Raises BuildToolError and UsageError where there is none."""
        problem = self._problem()
        if self._wanted == "docker" or (self._wanted != "auto" and problem is None):
            return [self._wanted]
        if problem is None:
            first: list[Isolation] = ["docker"] if self._image_name else []
            return [*first, *ISOLATIONS, "process"]
        if self._wanted != "auto" or not (self._image_name or isinstance(problem, UsageError)):
            raise problem
        return ["docker"]

    def _problem(self) -> LayerpackError | None:
        """What keeps this machine from running the runtime's programs by itself."""
        machine = self._profile.machine
        if this_machine() != machine:
            return UsageError(
                f"the layers are for {machine}, and this machine is {this_machine()}",
                f"Run them on a machine with {machine}, or in a container (--isolation docker).",
            )
        try:
            require_interpreter(self._profile, "to run the function")
        except BuildToolError as error:
            return error
        return None

    def _starter(
        self, isolation: Isolation, program: Program
    ) -> Callable[[Program, Settings], Running]:
        if isolation == "docker":
            return self._carrier(program).start
        interpreter = require_interpreter(self._profile, "to run the function")

        def started(program: Program, settings: Settings) -> Running:
            return start(replace(program, interpreter=interpreter), settings, isolation)

        return started

    # Containers.

    def _carrier(self, program: Program) -> Carrier:
        # (The SDK loads slowly.)
        from layerpack.emulator.docker import Carrier  # noqa: PLC0415
        from layerpack.emulator.image_system import ImageSystem  # noqa: PLC0415

        if self._failed is not None:
            raise self._failed
        if program in self._carriers:
            self._carriers[program] = self._carriers.pop(program)
            return self._carriers[program]
        try:
            engine, image = self._connected()
            if self._image_system is None:
                self._events.step("looking at the image's system")
                self._image_system = ImageSystem(engine, image, self._profile)
            if len(self._carriers) == _CARRIERS:
                # The one that was used least recently.
                self._carriers.pop(next(iter(self._carriers))).close()
            self._events.step("copying the function into a container")
            self._carriers[program] = Carrier(self._image_system, program)
        except CannotIsolateError:
            raise
        except BuildToolError as error:
            # What an engine's errors advise is for builds.
            raise BuildToolError(error.message, _ADVICE) from None
        return self._carriers[program]

    def _connected(self) -> tuple[Engine, Image]:
        from layerpack.docker_engine import connect, need_image, run_image  # noqa: PLC0415

        if self._engine is None:
            self._engine = connect(self._cache.folder("owners"))
        if self._image is None:
            name = self._image_name or run_image(self._profile)
            self._image = need_image(
                self._engine, name, self._profile, self._events.step, self._events.progress
            )
        return self._engine, self._image

    def _try_container(self) -> None:
        from layerpack.held_container import HeldContainer, folder_member  # noqa: PLC0415

        engine, image = self._connected()
        if not engine.is_native(self._profile):
            # Whether it emulates that processor, only a program can tell.
            with closing(HeldContainer(engine, image, self._profile)) as container:
                container.put([folder_member("/layerpack")])

    # What cannot be had.

    def _tell(self, why: list[str], settings: Settings, environment: Environment) -> None:
        """Warn of missing isolation. Raises BuildToolError where it cannot cut the network."""
        reasons = "; ".join(why)
        if self._chosen != "process":
            if reasons and self._image_name:
                self._events.warn(f"the function does not run in its image ({reasons})")
            return
        if self._must_cut and not settings.network:
            environment.close()
            raise BuildToolError(
                f"the function cannot be cut off the network ({reasons or _REQUESTED})",
                "Leave --no-network out.",
            )
        self._events.warn(f"{_NOT_IMITATED} ({reasons or _REQUESTED})")

    def _refusal(self, why: list[str]) -> LayerpackError:
        reasons = "; ".join(why)
        problem = self._problem()
        if self._wanted == "auto" and problem is not None:
            return type(problem)(f"{problem.message} ({reasons})", problem.hint)
        hint = "Allow unprivileged user namespaces, or use --isolation process."
        if self._wanted == "docker":
            hint = f"Name an image with Python {self._profile.python} with --image."
        return BuildToolError(f"the function cannot be isolated ({reasons})", hint)
