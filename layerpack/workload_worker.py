"""Runs inside the target's interpreter: imports a function's handler and gives it events.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.9 or later. Called as
`python workload_worker.py JOB`, a JSON file with `build` (the process that started this one), `opt`
(the layers), `task`, `site`, `python` and `provided` (the folders of sys.path; the last may be
empty), `handler`, `workloads` (each a `name` and the file of an `event`), `seconds` (when to give
up), and `result`: the file that gets `{"workloads": [{"name", "error": text or null}, ...],
"imported": [...]}`, where the latter are the sources below `opt` of all modules that were imported.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import site
import sys
import time
from pathlib import Path
from typing import Any


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
        sys.exit(1)


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
    end_with_build(job["build"])
    # A function that hangs, even in C code, is ended with a traceback.
    faulthandler.dump_traceback_later(job["seconds"], exit=True)
    # `-I` leaves this script's own folder out.
    sys.path[:0] = [job["task"], job["site"], job["python"]]
    site.addsitedir(job["site"])
    if job["provided"]:
        sys.path.append(job["provided"])
    workloads = run(job)
    outcome = json.dumps({"workloads": workloads, "imported": imported(job["opt"] + os.sep)})
    Path(job["result"]).write_text(outcome, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
