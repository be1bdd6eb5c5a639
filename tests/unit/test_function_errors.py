"""Errors of functions in one line, and what to do about them."""

from __future__ import annotations

import json

import pytest

from layerpack.function_errors import advice, described

TRACE = [
    '  File "/var/task/app.py", line 3, in handler\n    return alpha.run()\n',
    '  File "/opt/python/alpha/__init__.py", line 9, in run\n    raise ValueError("no")\n',
]


def error(kind: str, message: str, *trace: str) -> str:
    """Lambda's description of an error."""
    return json.dumps({"errorType": kind, "errorMessage": message, "stackTrace": list(trace)})


def test_the_line_is_the_functions_own() -> None:
    told = described(error("ValueError", "no", *TRACE))
    line = 'File "/var/task/app.py", line 3, in handler return alpha.run()'
    assert told == f"ValueError: no ({line})"
    # Without one, the last one.
    assert "alpha/__init__.py" in described(error("ValueError", "no", TRACE[1]))
    assert described(error("ValueError", "no")) == "ValueError: no"


def test_a_timeout_is_told_by_its_key_and_without_the_requests_number() -> None:
    told = error("Sandbox.Timedout", "RequestId: 12-ab Error: Task timed out after 2.00 seconds")
    assert described(told) == (
        "Sandbox.Timedout: Task timed out after 2.00 seconds (verify.timeout)"
    )


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"errorType": "X"}'])
def test_what_is_no_description_is_told_as_it_is(text: str) -> None:
    assert described(text) == text
    assert "function.environment" in advice(text, ())


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        (error("Runtime.ImportModuleError", "No module named 'pandas.io'"), "'pandas'"),
        (error("ModuleNotFoundError", "No module named 'alpha.x'"), "'alpha' is installed"),
        (error("OSError", "no semaphores", "multiprocessing/pool.py"), "/dev/shm"),
        (error("TypeError", "no call", "/var/runtime/awslambdaric/x.py"), "an event and a context"),
        (error("TypeError", "app.handler is a coroutine or a generator, ..."), "a plain function"),
        # Raised by code that the handler called, or in it.
        (error("TypeError", "no", "/var/runtime/awslambdaric/x.py", *TRACE), "Fix the function"),
        (error("TypeError", "no", "/var/runtime/awslambdaric/x.py", TRACE[1]), "Fix the function"),
        (error("KeyError", "'TABLE'", "os.environ['TABLE']"), "TABLE to function.environment"),
        # Any other dictionary's.
        (error("KeyError", "'TABLE'", "rows['TABLE']"), "Fix the function"),
    ],
)
def test_the_advice_fits_the_error(told: str, hint: str) -> None:
    assert hint in advice(told, {"alpha", "app"})


def test_the_advice_names_what_resolve_exclude_takes_away() -> None:
    told = error("Runtime.ImportModuleError", "No module named 'beta_x.io'")
    excluded = ("beta-x", "pillow")
    assert advice(told, (), excluded=excluded) == (
        "resolve.exclude excludes 'beta-x': remove it from there."
    )
    # The name of a module need not be that of its distribution.
    hint = advice(
        error("Runtime.ImportModuleError", "No module named 'PIL'"), (), excluded=excluded
    )
    assert "requirements" in hint
    assert "resolve.exclude excludes beta-x, pillow" in hint
    assert "resolve.exclude" not in advice(told, {"beta_x"}, excluded=excluded)
