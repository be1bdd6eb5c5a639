"""Runs inside the target's interpreter: imports a function's handler and gives it events.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.9 or later. Called as
`python workload_worker.py JOB`, a JSON file with `build` (the process that started this one), `opt`
(the layers), `task`, `site`, `python` and `provided` (the folders of sys.path; the last may be
empty), `handler`, `workloads` (each a `name` and the file of an `event`), `seconds` (when to give
up), `network` (whether the function may reach it), and `result`: the file that gets `{"workloads":
[{"name", "error": text or null}, ...], "imported": [...], "networked": false}`: the sources below
`opt` of all modules that were imported, and whether the function reached the network.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import site
import socket
import struct
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

NEW_MOUNTS, NEW_USER, NEW_NETWORK = 0x20000, 0x10000000, 0x40000000
BIND, MOVE, PRIVATE = 1 << 12, 1 << 13, 1 << 14 | 1 << 18
#: As in emulator/sandbox.py.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
GET_FLAGS, SET_FLAGS, IS_UP = 0x8913, 0x8914, 1


class Context:
    """What a handler gets beside the event: the attributes that AWS documents."""

    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:local:000000000000:function:" + function_name
    memory_limit_in_mb = "10240"
    log_group_name = "/aws/lambda/" + function_name
    log_stream_name = "local"
    identity = None
    client_context = None

    def __init__(self, request: int, seconds: float) -> None:
        self.aws_request_id = f"00000000-0000-0000-0000-{request:012d}"
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the worker would be ended."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def end_with_build(build: int) -> None:
    """End when the build is killed (prctl(2): PR_SET_PDEATHSIG is 1)."""
    try:
        import ctypes  # noqa: PLC0415 (an interpreter may lack it)

        ctypes.CDLL(None).prctl(1, 9)
    except (ImportError, AttributeError, OSError):
        pass
    if os.getppid() != build:
        os._exit(1)


def entered(kind: int) -> bool:
    """Enter a new namespace (unshare(2)): whether the kernel allows that, to root at once, to
    others in a user namespace in which they are who they were."""
    try:
        import ctypes  # noqa: PLC0415 (an interpreter may lack it)

        unshare = ctypes.CDLL(None).unshare
    except (ImportError, AttributeError, OSError):
        return False
    uid, gid = os.geteuid(), os.getegid()
    if unshare(kind) != 0:
        if unshare(kind | NEW_USER) != 0:
            return False
        maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
        # Without these it only has other numbers.
        with suppress(OSError):
            for name, text in maps.items():
                Path("/proc/self", name).write_text(text, encoding="ascii")
    return True


def leave_shared_memory(folder: Path) -> None:
    """Have a /dev without /dev/shm (mount(2)), as on Lambda, where the kernel allows that: a
    library that shares work out to processes finds no semaphores, and does it alone. The new /dev
    is made at `folder`."""
    if not entered(NEW_MOUNTS):
        return
    import ctypes  # noqa: PLC0415

    def mount(source: str, target: str, kind: str | None, flags: int) -> None:
        # A tmpfs that lets others write would be a place that Lambda has not.
        data = b"mode=755" if kind else None
        names = (os.fsencode(source), os.fsencode(target), kind.encode() if kind else None)
        if ctypes.CDLL(None).mount(*names, ctypes.c_ulong(flags), data) != 0:
            raise OSError(f"{target} cannot be mounted")

    # Nothing of /dev has changed before the last step.
    with suppress(OSError):
        mount("none", "/", None, PRIVATE)
        folder.mkdir()
        mount("tmpfs", str(folder), "tmpfs", 0)
        for name in DEVICES:
            if Path("/dev", name).exists():
                (folder / name).touch()
                mount(f"/dev/{name}", str(folder / name), None, BIND)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            (folder / name).symlink_to(f"/proc/self/fd{target}")
        mount(str(folder), "/dev", None, MOVE)


def leave_network() -> bool:
    """Have no network but a loopback of its own (netdevice(7)): whether the kernel allows that."""
    try:
        import fcntl  # noqa: PLC0415 (an interpreter may lack it)
    except ImportError:
        return False
    if not entered(NEW_NETWORK):
        return False
    with socket.socket() as control, suppress(OSError):
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, GET_FLAGS, request))[1]
        fcntl.ioctl(control, SET_FLAGS, struct.pack("16sh14x", b"lo", flags | IS_UP))
    return True


def raised() -> str:
    """The exception that is being handled, in one line."""
    error = sys.exc_info()[1]
    return " ".join(f"{type(error).__name__}: {error}".split())


def run(job: dict[str, Any]) -> list[dict[str, str | None]]:
    """Import the handler and call it for each event; gives each workload's error."""
    module, _, name = job["handler"].rpartition(".")
    workloads = job["workloads"]
    try:
        handler = getattr(importlib.import_module(module), name)
    # What a function raises is for its author to see, SystemExit among it.
    except BaseException:
        error = "the function fails on import: " + raised()
        return [{"name": one["name"], "error": error} for one in workloads]
    results: list[dict[str, str | None]] = []
    for number, one in enumerate(workloads):
        event = json.loads(Path(one["event"]).read_text(encoding="utf-8"))
        os.environ["_X_AMZN_TRACE_ID"] = f"Root=1-00000000-{number:024x};Sampled=0"
        try:
            handler(event, Context(number, job["seconds"]))
            results.append({"name": one["name"], "error": None})
        except BaseException:
            results.append({"name": one["name"], "error": raised()})
    return results


def imported(root: str) -> list[str]:
    """The sources below a folder of all modules by now, relative to it."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    sources = (file for file in files if isinstance(file, str) and file.endswith(".py"))
    return sorted(file[len(root) :] for file in sources if file.startswith(root))


def main(job_file: str) -> None:
    """Set sys.path as the runtime does, run, and write the result."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    networked = job["network"] or not leave_network()
    places = (job_file, job["result"], job["opt"], *(one["event"] for one in job["workloads"]))
    # A cache or a recipe may lie in /dev/shm.
    if not any(os.path.realpath(place).startswith("/dev/") for place in places):
        leave_shared_memory(Path(job_file).with_name("dev"))
    end_with_build(job["build"])
    # A function that hangs, even in C code, is ended with a traceback.
    faulthandler.dump_traceback_later(job["seconds"], exit=True)
    # `-I` leaves this script's own folder out.
    sys.path[:0] = [job["task"], job["site"], job["python"]]
    site.addsitedir(job["site"])
    if job["provided"]:
        sys.path.append(job["provided"])
    workloads = run(job)
    outcome = {
        "workloads": workloads,
        "imported": imported(job["opt"] + os.sep),
        "networked": networked,
    }
    Path(job["result"]).write_text(json.dumps(outcome), encoding="utf-8")


def end(status: int) -> NoReturn:
    """End at once: a thread or an exit handler that the function left may never return."""
    for stream in (sys.stdout, sys.stderr):
        # The function may have closed or replaced them.
        with suppress(Exception):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException:
        traceback.print_exc()
        end(1)
    end(0)
