"""The installed `layerpack` command, run as a user would."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: No command takes as many seconds: what hangs is ended, and fails.
TIMEOUT = 900
COMMAND = Path(sysconfig.get_path("scripts")) / "layerpack"
#: What the running test started.
_STARTED: list[subprocess.Popen[str]] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str


def environment(cache: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the cache folder, and no colours or width of a terminal."""
    return {
        **os.environ,
        "LAYERPACK_CACHE_DIR": str(cache),
        "NO_COLOR": "1",
        "COLUMNS": "100",
        # It takes AWS's client, from the package index, for each cache.
        "LAYERPACK_VERIFY": "0",
        **(extra or {}),
    }


def layerpack(
    *arguments: str | Path,
    folder: Path,
    cache: Path,
    extra: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> Ended:
    """Run `layerpack ARGUMENTS` in `folder` to its end, with `given` as standard input.

    It is forked from a process that has imported layerpack, where no variable is for the
    interpreter's start; `start` runs the installed script.
    """
    variables = environment(cache, extra)
    command = [str(COMMAND), *map(str, arguments)]
    with (
        tempfile.TemporaryFile() as taken,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as errors,
    ):
        taken.write(given)
        taken.seek(0)
        code = _Server.of_this_process().run(
            command, folder, variables, [one.fileno() for one in (taken, out, errors)]
        )
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode())
    return Ended(code=code, output=texts[0], errors=texts[1])


class _Server:
    """`tests/support/command_server.py`, started when it is first needed; it ends with us."""

    _started: _Server | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._variables = _interpreters(os.environ)
        with other:
            code = "from tests.support.command_server import main; main()"
            command = [sys.executable, "-c", code]
            self._process = subprocess.Popen(
                command, stdin=other.fileno(), cwd=Path(__file__).parents[2]
            )

    @classmethod
    def of_this_process(cls) -> _Server:
        """The one of this process."""
        with cls._lock:
            if cls._started is None:
                cls._started = cls()
            return cls._started

    def run(
        self, command: list[str], folder: Path, variables: Mapping[str, str], streams: list[int]
    ) -> int:
        """Run a command to its end; returns its exit code, minus the number of a signal."""
        if _interpreters(variables) != self._variables:
            return subprocess.run(
                command,
                cwd=folder,
                env=variables,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                check=False,
                timeout=TIMEOUT,
            ).returncode
        read, write = os.pipe()
        request = {"arguments": command, "folder": str(folder), "environment": dict(variables)}
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, write])
        finally:
            os.close(write)
        with os.fdopen(read, "rb") as told:
            process = int(told.readline())
            if not select.select([told], [], [], TIMEOUT)[0]:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, TIMEOUT)
            return int(told.readline())


def _interpreters(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter, or its C library, reads when it starts."""
    own = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
    return {name: value for name, value in variables.items() if name.startswith(own)}


def start(
    *arguments: str | Path, folder: Path, cache: Path, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `layerpack ARGUMENTS` in a process group of its own, until the test's end."""
    process = subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        cwd=folder,
        env=environment(cache, extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _STARTED.append(process)
    return process


def end_started() -> None:
    """End what `start` began and the test left running, with its group.

    It is asked first: no signal that it cannot catch would let it remove its containers.
    """
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is not None:
            continue
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_gone(group: int) -> None:
    """Until no process of the group is left."""
    deadline = time.monotonic() + 30
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < deadline


def refused(ended: Ended, code: int) -> str:
    """A command ended with the code and one message on standard error, which is given."""
    assert ended.code == code, ended.errors
    assert ended.output == ""
    assert "Traceback" not in ended.errors
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("error: ") == 1 or "  error: " in ended.errors
    return ended.errors
