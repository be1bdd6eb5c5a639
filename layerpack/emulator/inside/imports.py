"""A Lambda function that imports modules, each in a process of its own, and tells what fails.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.9 or later. The event is
`{"modules": [...], "seconds": 60}`; the answer maps in `failing` each module that does not import
to the reason, such as `ImportError: no such file`, and in `mapped` each file that an import mapped
as code to its module; it has the `python`'s version and the text of /proc/cpuinfo (`processor`).
"""

from __future__ import annotations

import importlib
import os
import platform
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Around the list of mapped files of a child that has imported its module.
IMPORTED = b"\0"
DELETED = " (deleted)"
_LONGEST = 2000


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """See above."""
    mapped: dict[str, str] = {}
    failing = failures(event["modules"], os.cpu_count() or 1, event["seconds"], mapped)
    processor = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return {
        "failing": failing,
        "mapped": mapped,
        "python": platform.python_version(),
        "processor": processor,
    }


def failures(
    modules: list[str], at_once: int, seconds: float, mapped: dict[str, str]
) -> dict[str, str]:
    """The modules that do not import, with the reasons; so many are tried at a time. Files that the
    others map are added to `mapped`, with their module."""
    waiting = list(modules)
    failed: dict[str, str] = {}
    running: dict[int, tuple[str, int, float, bytearray]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            module = waiting.pop(0)
            pipe, child = start(module)
            running[pipe] = (module, child, time.monotonic() + seconds, bytearray())
        readable, _, _ = select.select(list(running), [], [], 0.02)
        for pipe in readable:
            running[pipe][3].extend(os.read(pipe, 65536))
        for pipe, (module, child, until, said) in list(running.items()):
            # Not the pipe's end: what the child started may live on, and keep it open.
            done, status = os.waitpid(child, os.WNOHANG)
            late = not done and time.monotonic() > until
            if late:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if not done and not late:
                continue
            while select.select([pipe], [], [], 0)[0] and (data := os.read(pipe, 65536)):
                said.extend(data)
            os.close(pipe)
            del running[pipe]
            reason = "it does not come to an end" if late else told(status, bytes(said))
            if reason:
                failed[module] = reason
            for path in bytes(said).split(IMPORTED)[1].split(b"\n") if said[:1] == IMPORTED else ():
                mapped.setdefault(os.fsdecode(path), module)
    return failed


def start(module: str) -> tuple[int, int]:
    """Import a module in a child: the pipe that it tells its failure through, and its number."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return ours, child
    status = 1
    try:
        os.close(ours)
        # What it starts, and leaves behind, must not keep the pipe.
        os.set_inheritable(theirs, False)
        importlib.import_module(module)
        os.write(theirs, IMPORTED + b"\n".join(map(os.fsencode, code_files())) + IMPORTED)
        status = 0
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        os.write(theirs, text.encode(errors="replace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            # The module may have closed or replaced them.
            with suppress(Exception):
                stream.flush()
        os._exit(status)


def code_files() -> list[str]:
    """The files that this process has mapped as code (proc(5)): emulator/mapped.py for a module
    that is copied alone."""
    text = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    rows = (line.split(maxsplit=5) for line in text.splitlines())
    paths = {row[5] for row in rows if len(row) == 6 and "x" in row[1] and row[5][0] == "/"}
    # Of a file that was removed since.
    return sorted({path.removesuffix(DELETED) for path in paths})


def told(status: int, said: bytes) -> str:
    """Why a child failed that ended so; empty where it did not."""
    if said.endswith(IMPORTED) and status == 0:
        return ""
    said = said.rpartition(IMPORTED)[2]
    if os.WIFSIGNALED(status) and not said:
        return f"it ends the process: {signal.strsignal(os.WTERMSIG(status))}"
    if not said:
        return f"it ends the process with {os.WEXITSTATUS(status)}"
    return said.decode(errors="replace")
