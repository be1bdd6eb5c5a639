"""Runs inside a sandbox, as Lambda's own bootstrap does: sets sys.path, and runs AWS's client.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.10 or later. Called as
`python -S runtime.py TASK SITE PYTHON RUNTIME [check]`: the folders of the function, of the layers'
distributions (both of them) and of AWS's client. With `check` a handler that cannot be called is an
error of the initialisation.
"""

from __future__ import annotations

import inspect
import os
import site
import sys


def main(task: str, distributions: str, python: str, runtime: str, check: str = "") -> None:
    """Set sys.path as AWS's documentation has it ("Search path for Python runtimes"), and serve."""
    # This script's own folder.
    del sys.path[0]
    sys.path.append(runtime)
    # Lambda gives the layers' folders through PYTHONPATH: who sets it, sets them.
    layers = [] if "PYTHONPATH" in os.environ else [distributions, python]
    sys.path[:0] = [task, *layers]
    if layers and os.path.isdir(distributions):  # noqa: PTH112 (pathlib takes time to import)
        # As a folder of the interpreter's it may hold .pth files, which run.
        site.addsitedir(distributions)
    # As Lambda sets it; the programs that the function starts have the runtime's packages by it.
    os.environ.setdefault("PYTHONPATH", runtime)
    # Without the interpreter's own distributions (`-S`), but with the names that it has with them.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    if check:
        check_handler()
    sys.argv = ["bootstrap", os.environ["_HANDLER"]]
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 (found on the path set above)

    serve(sys.argv)


def check_handler() -> None:
    """Have AWS's client refuse a handler that Lambda cannot call, or whose answer it can never
    send, as one that is missing."""
    from awslambdaric import bootstrap  # noqa: PLC0415
    from awslambdaric.lambda_runtime_exception import FaultException  # noqa: PLC0415

    get_handler = bootstrap._get_handler

    def checked(name: str) -> object:
        handler = get_handler(name)
        if problem := unfit(handler):
            raise FaultException("TypeError", f"{name} {problem}", None)
        return handler

    bootstrap._get_handler = checked


def unfit(handler: object) -> str:
    """Why Lambda cannot use a handler, as a clause; empty where it can."""
    if not callable(handler):
        return f"is of type {type(handler).__name__}, which cannot be called"
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(handler) for is_kind in kinds):
        return "is a coroutine or a generator, whose answer Lambda cannot send"
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        # Written in C, say.
        return ""
    try:
        signature.bind(None, None)
    except TypeError as error:
        return f"cannot be called with an event and a context: {error}"
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
