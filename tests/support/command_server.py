"""A process with layerpack imported, from which commands are forked: their start then costs
milliseconds instead of most of a second. Run by `tests/support/command.py`.

Each message on the socket that standard input is has a command (JSON) and the descriptors of its
standard streams and of a pipe for its end.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import sys
from typing import Any, NoReturn

import layerpack.cli
from layerpack.cli.main import run

MAXIMUM = 1 << 20


def main() -> None:
    """Serve until the other end is closed."""
    requests = socket.socket(fileno=os.dup(0))
    for module in pkgutil.walk_packages(layerpack.__path__, "layerpack."):
        # Two are programs, and one is for another interpreter.
        if not module.name.endswith(("__main__", "_worker", "_inside")):
            importlib.import_module(module.name)
    for name in ("boto3", "docker", "rich.progress", "yaml.cyaml"):
        importlib.import_module(name)
    gc.freeze()
    # Those who wait for commands are nobody's concern.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, streams, _, _ = socket.recv_fds(requests, MAXIMUM, 4)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _wait_for(json.loads(message), streams)
        for stream in streams:
            os.close(stream)


def _wait_for(request: dict[str, Any], streams: list[int]) -> None:
    """Run the command in a process of its own, and write its number and its exit code."""
    command = os.fork()
    if command == 0:
        os.close(streams[3])
        _command(request, streams[:3])
    # Whoever reads the command's output must not wait for this process.
    for stream in (0, 1, 2, *streams[:3]):
        os.close(stream)
    os.write(streams[3], b"%d\n" % command)
    _, status = os.waitpid(command, 0)
    os.write(streams[3], b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _command(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """What the installed script does, in its folder, with its variables and streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8")  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False),  # noqa: SIM115
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    # The interpreter ends as it would have: buffers, threads, atexit.
    run()
    sys.exit()
