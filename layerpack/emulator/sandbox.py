"""Where a function runs: a process that finds what it would find on Lambda, as far as can be.

Namespaces of the kernel's need no root. Some systems refuse them to all programs but bubblewrap;
where that is missing too, a plain process runs it, with a warning of the differences.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

from layerpack.emulator.bubblewrap import bubblewrap_options
from layerpack.emulator.etc import GROUP, USER
from layerpack.emulator.host_system import (
    LANG,
    empty_folders,
    shown_programs,
    system_binds,
    write_lambda_etc,
)
from layerpack.emulator.running_process import INSIDE, RunningProcess
from layerpack.errors import BuildToolError
from layerpack.lambda_variables import configured_variables, lambda_variables
from layerpack.limits import MEMORY_MB
from layerpack.process_keeper import KEEPER
from layerpack.scratch import ScratchFolder, sweep

#: Where inside/runtime.py is.
BOOTSTRAP: Final = "/var/rapid/bootstrap.py"
#: "Working with environment variables": the runtime's, in its order.
LIBRARY_PATH: Final = (
    *("/var/lang/lib", "/lib64", "/usr/lib64", "/var/runtime", "/var/runtime/lib"),
    *("/var/task", "/var/task/lib", "/opt/lib"),
)
_SEARCH_PATH: Final = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
#: Of a host's file system, the folders that may be links to others (usr/lib, usr/bin).
_HOST_FOLDERS: Final = ("/lib", "/lib32", "/lib64", "/bin", "/sbin")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_START_SECONDS: Final = 10.0
#: In the path of every sandbox's own files.
SCRATCH: Final = "layerpack-sandbox-"
# Nothing of the machine's or the user's but the standard library.
_BARE: Final = ("-I", "-S", "-B")

_STARTER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandboxes")

Isolation = Literal["docker", "namespaces", "bubblewrap", "process"]
#: Those of this machine's own that isolate, the best first.
ISOLATIONS: Final[tuple[Isolation, ...]] = ("namespaces", "bubblewrap")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A function's configuration: memory and /tmp in MB, the timeout in seconds, variables of its
    own, and whether it reaches the network; `processors` are those that it may use on average
    (None: all that there are)."""

    memory_mb: int = MEMORY_MB
    timeout: float = 60.0
    tmp_mb: int = 512
    network: bool = True
    processors: float | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What is to be run: folders for /opt, /var/task and /var/runtime, the handler
    (`module.function`), and the Python of this machine to run it; `runtime` is Lambda's identifier.
    (A container has a Python of its own.) With `checks_handler` it fails at once where the handler
    cannot be called, and not with the first event, as on Lambda."""

    name: str
    runtime: str
    handler: str
    opt: Path
    task: Path
    client: Path
    interpreter: Path = Path()
    checks_handler: bool = False

    @property
    def site(self) -> str:
        """The layers' folder for distributions with .pth files, below /opt."""
        return f"python/lib/{self.runtime}/site-packages"


class Running(Protocol):
    """A started sandbox: the pipe that its program prints to, and the socket on which that asks for
    work; `out_of_memory` says that it was ended for taking more than it may; `mapped` are programs
    and libraries that it ran code of at any look, as it sees them."""

    output: IO[bytes]
    listener: socket.socket
    out_of_memory: bool

    @property
    def mapped(self) -> set[str]: ...

    def look(self) -> tuple[int, int]:
        """The most memory that was taken by now, and what was read of files, both in bytes."""
        ...

    def wait(self) -> int:
        """Wait until the program ends: its exit code, negative for a signal's number."""
        ...

    def kill(self) -> None:
        """Kill what runs, and return at once."""
        ...

    def end(self) -> None:
        """Leave nothing behind of what was killed."""
        ...


class CannotIsolateError(BuildToolError):
    """The kernel refuses what isolation takes; the message says what."""


def start(program: Program, settings: Settings, isolation: Isolation) -> Running:
    """Start the function's process. Raises CannotIsolateError, and BuildToolError."""
    sweep(SCRATCH)
    scratch = ScratchFolder(SCRATCH)
    try:
        if isolation == "namespaces":
            return _isolated(program, settings, scratch)
        if isolation == "bubblewrap":
            found = shutil.which("bwrap")
            if found is None:
                raise CannotIsolateError("bwrap is not on PATH")
            return _isolated(program, settings, scratch, bubblewrap=Path(found))
        return _as_process(program, settings, scratch)
    except BaseException:
        scratch.cleanup()
        raise


def _isolated(
    program: Program,
    settings: Settings,
    scratch: ScratchFolder,
    *,
    bubblewrap: Path | None = None,
) -> Running:
    """In namespaces that we make, or that bubblewrap makes."""
    specification = _specification(program, settings, Path(scratch.name))
    file = Path(scratch.name) / "specification.json"
    file.write_text(json.dumps(specification), encoding="utf-8")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = INSIDE / "namespaces.py"
        command: list[Any] = [program.interpreter, *_BARE, script, file, theirs.fileno()]
        if bubblewrap is not None:
            files = {f"/var/rapid/{path.name}": path for path in (script, file)}
            command = [bubblewrap, *bubblewrap_options(specification, files)]
            command += [f"/var/lang/bin/{program.interpreter.name}", *_BARE, *files]
            command += [theirs.fileno(), "entered"]
        process = _popen(command, environment={}, folder=Path("/"), pass_fds=(theirs.fileno(),))
        theirs.close()
        ours.settimeout(_START_SECONDS)
        try:
            text, descriptors, _, _ = socket.recv_fds(ours, 65536, 1)
        except TimeoutError:
            text, descriptors = b'{"error": "it did not start"}', []
            process.kill()
    if descriptors:
        listener = socket.socket(fileno=descriptors[0])
        return RunningProcess(
            process,
            listener,
            scratch,
            memory_mb=settings.memory_mb,
            processors=settings.processors,
            as_shells=bubblewrap is not None,
        )
    output, _ = process.communicate()
    KEEPER.forget(process.pid)
    try:
        reason = str(json.loads(text)["error"])
    except ValueError:
        reason = output.decode(errors="replace").strip() or f"it ended with {process.returncode}"
    raise CannotIsolateError(reason)


def _specification(program: Program, settings: Settings, scratch: Path) -> dict[str, Any]:
    """What is where in the sandbox, and what runs there: see inside/namespaces.py."""
    (scratch / "root").mkdir()
    (scratch / "empty").mkdir()
    try:
        system = system_binds(program.interpreter, program.runtime)
        write_lambda_etc(scratch / "etc", program.interpreter, program.runtime)
    except LookupError as error:
        raise CannotIsolateError(str(error)) from None
    binds = [
        *system,
        (str(scratch / "etc"), "/etc"),
        # Not over what the interpreter has in a home (Homebrew's, conda's).
        *(
            (str(scratch / "empty"), path)
            for path in empty_folders()
            if not any(target.startswith(f"{path}/") for _, target in system)
        ),
        (str(program.client), "/var/runtime"),
        (str(program.opt), "/opt"),
        (str(program.task), "/var/task"),
        (str(INSIDE / "runtime.py"), BOOTSTRAP),
    ]
    # What is installed beside the interpreter is not in the runtime.
    binds += [
        (str(scratch / "empty"), f"{target}/{name}")
        for source, target in system
        for name in ("site-packages", "dist-packages")
        if target.startswith(f"{LANG}/lib") and Path(source, name).is_dir()
    ]
    return {
        "host": os.getpid(),
        "root": str(scratch / "root"),
        "binds": binds,
        "links": {
            str(path): str(path.readlink())
            for path in map(Path, _HOST_FOLDERS)
            if path.is_symlink()
        },
        "devices": [name for name in _DEVICES if Path("/dev", name).exists()],
        "tmp_bytes": settings.tmp_mb * 2**20,
        "network": settings.network,
        "uid": USER,
        "gid": GROUP,
        "command": [f"/var/lang/bin/{program.interpreter.name}", "-S", *bootstrap_of(program)],
        **surroundings(program, settings),
    }


def bootstrap_of(program: Program) -> list[str]:
    """What Python is to run where folders have Lambda's names: inside/runtime.py."""
    folders = ("/var/task", f"/opt/{program.site}", "/opt/python", "/var/runtime")
    return [BOOTSTRAP, *folders, *_checks(program)]


def _checks(program: Program) -> list[str]:
    return ["check"] if program.checks_handler else []


def surroundings(program: Program, settings: Settings) -> dict[str, Any]:
    """The `folder` to start in and the `environment` there, in whose variables `with_port` the word
    PORT stands for that of the Runtime API."""
    places = {
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LD_LIBRARY_PATH": ":".join(LIBRARY_PATH),
        "PATH": _SEARCH_PATH,
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:PORT",
    }
    return {
        "folder": "/var/task",
        "environment": _variables(program, settings, places),
        "with_port": ["AWS_LAMBDA_RUNTIME_API"],
    }


def _as_process(program: Program, settings: Settings, scratch: ScratchFolder) -> Running:
    listener = socket.create_server(("127.0.0.1", 0))
    # Copies: what it changes of them is nobody else's.
    folders = {"task": program.task, "opt": program.opt, "runtime": program.client}
    for name, folder in folders.items():
        shutil.copytree(folder, Path(scratch.name) / name)
    task, opt, client = (Path(scratch.name) / name for name in folders)
    libraries = (client, client / "lib", task, task / "lib", opt / "lib")
    tmp = Path(scratch.name) / "tmp"
    tmp.mkdir()
    # Programs that Lambda lacks are absent from PATH, though not from this machine.
    programs = Path(scratch.name) / "bin"
    programs.mkdir()
    links = shown_programs(program.runtime)
    links |= dict.fromkeys(("python3", program.runtime), program.interpreter)
    for name, file in links.items():
        (programs / name).symlink_to(file)
    variables = _variables(
        program,
        settings,
        {
            "LAMBDA_RUNTIME_DIR": str(client),
            "LAMBDA_TASK_ROOT": str(task),
            "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in libraries),
            "PATH": os.pathsep.join((str(programs), str(opt / "bin"))),
            "TMPDIR": str(tmp),
            "HOME": str(tmp),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{listener.getsockname()[1]}",
        },
    )
    arguments = (task, opt / program.site, opt / "python", client)
    process = _popen(
        # Without the interpreter's own distributions, which the runtime does not have.
        [program.interpreter, "-S", "-B", INSIDE / "runtime.py", *arguments, *_checks(program)],
        environment=variables,
        folder=task,
    )
    return RunningProcess(
        process,
        listener,
        scratch,
        memory_mb=settings.memory_mb,
        processors=settings.processors,
    )


def _variables(program: Program, settings: Settings, places: Mapping[str, str]) -> dict[str, str]:
    """The variables that Lambda defines ("Defined runtime environment variables"); the function's
    own come last, as the user may replace most of them."""
    variables = lambda_variables(
        name=program.name,
        runtime=program.runtime,
        handler=program.handler,
        memory_mb=settings.memory_mb,
    )
    return configured_variables({**variables, **places}, settings.variables)


def _popen(
    arguments: list[Any],
    *,
    environment: Mapping[str, str],
    folder: Path,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    def started() -> subprocess.Popen[bytes]:
        KEEPER.ready()
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            # Ctrl-C is ours to handle.
            start_new_session=True,
        )
        # Namespaces end with this process, and a plain process does not.
        KEEPER.watch(process.pid)
        return process

    try:
        # A sandbox ends with the thread that started it (prctl(2), PR_SET_PDEATHSIG), and those
        # that serve requests end with their connections.
        return _STARTER.submit(started).result()
    except OSError as error:
        raise BuildToolError(f"{arguments[0]} cannot be started: {error.strerror}") from None
