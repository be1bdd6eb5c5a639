"""Errors of a function, as Lambda describes them in JSON: one line of text, and what to do next."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection
from typing import Any, Final

from packaging.utils import canonicalize_name

_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")
_LOOK: Final = "or build with --no-verify."


def described(error: str) -> str:
    """An error as `Type: message (line)`, with the function's own last line of the traceback.

    What is no description of Lambda's is returned as it is.
    """
    told = _parsed(error)
    if told is None:
        return error
    if is_timeout(error):
        # Without the request's number, which differs each time.
        text = told["errorMessage"].rpartition("Error: ")[2]
        return f"{told['errorType']}: {text} (verify.timeout)"
    lines = [" ".join(line.split()) for line in _trace(told)]
    # The function's own last line tells its author more than the depth of a library.
    own = [line for line in lines if "/task/" in line] or lines
    where = f" ({own[-1]})" if own else ""
    return f"{told['errorType']}: {told['errorMessage']}{where}"


def ended_by_itself(error: str) -> bool:
    """Whether an error is that of a process that ended without raising one."""
    kind = (_parsed(error) or {}).get("errorType")
    return kind in ("Runtime.ExitError", "Runtime.OutOfMemory")


def last_words(lines: str) -> str:
    """What a process printed before it ended by itself, to stand below its error."""
    return f"\nit printed last:\n{textwrap.indent(lines, '  ')}" if lines.strip() else ""


def is_timeout(error: str) -> bool:
    """Whether an error is the emulator's, of a function that took too long."""
    return (_parsed(error) or {}).get("errorType") == "Sandbox.Timedout"


def advice(
    error: str,
    modules: Collection[str],
    *,
    handler: str = "",
    timeout: float = 0,
    excluded: Collection[str] = (),
) -> str:
    """What to do about a function that fails by itself; `modules` are the top-level modules of the
    plain install and of the function, `handler`, `timeout` (seconds) and the `excluded`
    distributions those of the recipe."""
    told = _parsed(error) or {"errorType": "", "errorMessage": error}
    message = str(told["errorMessage"])
    hint = f"Fix the function (variables that it needs go into function.environment), {_LOOK}"
    if "multiprocessing" in error or "shared_memory" in error:
        hint = (
            "Lambda has no /dev/shm: locks, queues, pools and shared memory of multiprocessing "
            "fail there. Use threads, or Process with Pipe."
        )
    elif match := _NO_MODULE.search(message):
        name = match[1].partition(".")[0]
        hint = (
            f"Add the distribution that has the module '{name}' to requirements, or the module "
            "itself to function.source."
        )
        if canonicalize_name(name) in excluded:
            hint = f"resolve.exclude excludes '{canonicalize_name(name)}': remove it from there."
        elif excluded:
            hint += f" resolve.exclude excludes {', '.join(excluded)}: one of them may have it."
        if name in modules:
            hint = f"'{name}' is installed, and has no '{match[1]}': correct the import, {_LOOK}"
    elif told["errorType"] == "Runtime.UserCodeSyntaxError":
        hint = f"Fix the syntax, {_LOOK}"
    elif told["errorType"] == "Runtime.HandlerNotFound":
        hint = "Name a function of that module in function.handler."
    elif told["errorType"] == "TypeError" and "is a coroutine or a generator" in message:
        hint = (
            "Make the handler a plain function, `def` without `async` or `yield` "
            f"(function.handler: {handler}); asyncio.run in it waits for a coroutine."
        )
    elif told["errorType"] == "TypeError" and all("/awslambdaric/" in x for x in _trace(told)):
        hint = (
            "Lambda calls the handler with an event and a context: name a function of these two in "
            f"the recipe (function.handler: {handler})."
        )
    elif is_timeout(error):
        hint = f"Give it more seconds with verify.timeout (now {timeout:g}, at most 900), {_LOOK}"
    elif told["errorType"] == "KeyError" and "environ" in "".join(_trace(told)):
        name = message.strip("'\"")
        hint = (
            f"Add {name} to function.environment in the recipe, if its value is not a secret; else "
            "read it when it is first used."
        )
    return hint


def _parsed(error: str) -> dict[str, Any] | None:
    try:
        told = json.loads(error)
    except ValueError:
        return None
    if isinstance(told, dict) and {"errorType", "errorMessage"} <= told.keys():
        return told
    return None


def _trace(told: dict[str, Any]) -> list[str]:
    lines = told.get("stackTrace")
    return [str(line) for line in lines] if isinstance(lines, list) else []
