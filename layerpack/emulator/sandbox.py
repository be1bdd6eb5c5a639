"""Where a function runs: a process that finds what it would find on Lambda, as far as can be.

Namespaces of the kernel's need no root. Some systems refuse them to all programs but bubblewrap;
where that is not there either, a plain process must do, and it is told what is different.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

from layerpack.emulator.bubblewrap import bubblewrap_options
from layerpack.emulator.memory import MemoryWatch
from layerpack.emulator.processor import ProcessorShare
from layerpack.errors import BuildToolError
from layerpack.lambda_variables import lambda_variables

_INSIDE: Final = Path(__file__).with_name("inside")
#: Where inside/runtime.py is.
BOOTSTRAP: Final = "/var/rapid/bootstrap.py"
#: Lambda's user, as its /etc/passwd has it.
USER, GROUP = 993, 990
_PASSWD: Final = (
    "root:x:0:0:root:/root:/bin/bash\n"
    f"sbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n"
)
#: "Working with environment variables": the runtime's, in its order.
LIBRARY_PATH: Final = (
    *("/var/lang/lib", "/lib64", "/usr/lib64", "/var/runtime", "/var/runtime/lib"),
    *("/var/task", "/var/task/lib", "/opt/lib"),
)
_SEARCH_PATH: Final = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
#: Of a host's file system, what programs and libraries need, and nobody's own files.
_HOST_FOLDERS: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
#: Of /etc, what they look up; its other files may hold secrets, and layerpack may run as root.
_HOST_SETTINGS: Final = (
    *("alternatives", "ca-certificates", "crypto-policies", "gai.conf", "host.conf", "hosts"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf"),
    *("os-release", "pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf"),
    *("protocols", "resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "ssl/cert.pem"),
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_START_SECONDS: Final = 10.0
_SCRATCH: Final = "layerpack-sandbox-"
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

    memory_mb: int = 1769
    timeout: float = 60.0
    tmp_mb: int = 512
    network: bool = True
    processors: float | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What is to be run: folders for /opt, /var/task and /var/runtime, the handler
    (`module.function`), and the Python of this machine to run it; `runtime` is Lambda's identifier.
    (A container has a Python of its own.)"""

    name: str
    runtime: str
    handler: str
    opt: Path
    task: Path
    client: Path
    interpreter: Path = Path()

    @property
    def site(self) -> str:
        """The layers' folder for distributions with .pth files, below /opt."""
        return f"python/lib/{self.runtime}/site-packages"


class Running(Protocol):
    """A started sandbox: the pipe that its program prints to, and the socket on which that asks for
    work; `out_of_memory` says that it was ended for taking more than it may."""

    output: IO[bytes]
    listener: socket.socket
    out_of_memory: bool

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


class RunningProcess:
    """A sandbox (see Running) whose process is one of this machine's; with `as_shells` it adds 128
    to a signal's number."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        listener: socket.socket,
        scratch: tempfile.TemporaryDirectory[str],
        settings: Settings,
        *,
        as_shells: bool = False,
    ) -> None:
        assert process.stdout is not None  # noqa: S101
        self.output = process.stdout
        self.listener = listener
        self.out_of_memory = False
        self._process = process
        self._as_shells = as_shells
        self._scratch = scratch
        self._watch = MemoryWatch(process.pid, settings.memory_mb * 2**20, self._limit)
        self._share: ProcessorShare | None = None
        if settings.processors is not None:
            self._share = ProcessorShare(process.pid, settings.processors)

    def look(self) -> tuple[int, int]:
        """See Running."""
        self._watch.look()
        return self._watch.peak, self._watch.read

    def wait(self) -> int:
        """See Running."""
        code = self._process.wait()
        if self._as_shells and code - 128 in set(signal.Signals):
            return 128 - code
        return code

    def kill(self) -> None:
        """See Running; without namespaces, what left the process's group may go on."""
        # In namespaces the group's first is process 1's parent, and all else ends with it.
        if self._process.returncode is not None:
            # Its number may be another's by now.
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """See Running."""
        self._process.wait()
        self._watch.close()
        if self._share is not None:
            self._share.close()
        self._scratch.cleanup()

    def _limit(self) -> None:
        self.out_of_memory = True
        self.kill()


class CannotIsolateError(BuildToolError):
    """The kernel refuses what isolation takes; the message says what."""


def start(program: Program, settings: Settings, isolation: Isolation) -> Running:
    """Start the function's process. Raises CannotIsolateError, and BuildToolError."""
    _sweep()
    scratch = tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-")
    try:
        if isolation == "namespaces":
            return _isolated(program, settings, scratch)
        if isolation == "bubblewrap":
            found = shutil.which("bwrap")
            if found is None:
                raise CannotIsolateError("there is no bwrap on PATH")
            return _isolated(program, settings, scratch, bubblewrap=Path(found))
        return _as_process(program, settings, scratch)
    except BaseException:
        scratch.cleanup()
        raise


def _sweep() -> None:
    """Remove the folders of layerpacks that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*-*"):
        number = path.name.removeprefix(_SCRATCH).partition("-")[0]
        if number.isdigit() and not Path("/proc", number).exists():
            shutil.rmtree(path, ignore_errors=True)


def _isolated(
    program: Program,
    settings: Settings,
    scratch: tempfile.TemporaryDirectory[str],
    *,
    bubblewrap: Path | None = None,
) -> Running:
    """In namespaces that we make, or that bubblewrap makes."""
    specification = _specification(program, settings, Path(scratch.name))
    file = Path(scratch.name) / "specification.json"
    file.write_text(json.dumps(specification), encoding="utf-8")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = _INSIDE / "namespaces.py"
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
            process, listener, scratch, settings, as_shells=bubblewrap is not None
        )
    output, _ = process.communicate()
    try:
        reason = str(json.loads(text)["error"])
    except ValueError:
        reason = output.decode(errors="replace").strip() or f"it ended with {process.returncode}"
    raise CannotIsolateError(reason)


def _specification(program: Program, settings: Settings, scratch: Path) -> dict[str, Any]:
    """What is where in the sandbox, and what runs there: see inside/namespaces.py."""
    (scratch / "root").mkdir()
    (scratch / "empty").mkdir()
    (scratch / "passwd").write_text(_PASSWD, encoding="ascii")
    prefix = program.interpreter.resolve().parent.parent
    binds = [
        *((name, name) for name in _HOST_FOLDERS if _is_own_folder(name)),
        *((f"/etc/{n}", f"/etc/{n}") for n in _HOST_SETTINGS if Path("/etc", n).exists()),
        (str(prefix), "/var/lang"),
        (str(program.client), "/var/runtime"),
        (str(program.opt), "/opt"),
        (str(program.task), "/var/task"),
        (str(_INSIDE / "runtime.py"), BOOTSTRAP),
        (str(scratch / "passwd"), "/etc/passwd"),
    ]
    # What is installed beside the interpreter is not in the runtime.
    binds += [
        (str(scratch / "empty"), f"/var/lang/lib/{program.runtime}/{name}")
        for name in ("site-packages", "dist-packages")
        if (prefix / "lib" / program.runtime / name).is_dir()
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
    return [BOOTSTRAP, "/var/task", f"/opt/{program.site}", "/opt/python", "/var/runtime"]


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


def _is_own_folder(name: str) -> bool:
    return Path(name).is_dir() and not Path(name).is_symlink()


def _as_process(
    program: Program, settings: Settings, scratch: tempfile.TemporaryDirectory[str]
) -> Running:
    listener = socket.create_server(("127.0.0.1", 0))
    # Copies: what it changes of them is nobody else's.
    folders = {"task": program.task, "opt": program.opt, "runtime": program.client}
    for name, folder in folders.items():
        shutil.copytree(folder, Path(scratch.name) / name)
    task, opt, client = (Path(scratch.name) / name for name in folders)
    libraries = (client, client / "lib", task, task / "lib", opt / "lib")
    tmp = Path(scratch.name) / "tmp"
    tmp.mkdir()
    variables = _variables(
        program,
        settings,
        {
            "LAMBDA_RUNTIME_DIR": str(client),
            "LAMBDA_TASK_ROOT": str(task),
            "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in libraries),
            "PATH": os.pathsep.join(
                (str(program.interpreter.parent), os.defpath, str(opt / "bin"))
            ),
            "TMPDIR": str(tmp),
            "HOME": str(tmp),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{listener.getsockname()[1]}",
        },
    )
    arguments = (task, opt / program.site, opt / "python", client)
    process = _popen(
        # Without the interpreter's own distributions, which the runtime does not have.
        [program.interpreter, "-S", "-B", _INSIDE / "runtime.py", *arguments],
        environment=variables,
        folder=task,
    )
    return RunningProcess(process, listener, scratch, settings)


def _variables(program: Program, settings: Settings, places: Mapping[str, str]) -> dict[str, str]:
    """The variables that Lambda defines ("Defined runtime environment variables"), and no
    credentials; the function's own come last, as the user may replace most of them."""
    variables = lambda_variables(
        name=program.name,
        runtime=program.runtime,
        handler=program.handler,
        memory_mb=settings.memory_mb,
    )
    return {**variables, **places, **settings.variables}


def _popen(
    arguments: list[Any],
    *,
    environment: Mapping[str, str],
    folder: Path,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
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

    try:
        # A sandbox ends with the thread that started it (prctl(2), PR_SET_PDEATHSIG), and those
        # that serve requests end with their connections.
        return _STARTER.submit(started).result()
    except OSError as error:
        raise BuildToolError(f"{arguments[0]} cannot be started: {error.strerror}") from None
