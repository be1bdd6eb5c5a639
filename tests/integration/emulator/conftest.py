"""A build with a function that does whatever its event asks for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.emulator.environment import Environment
from layerpack.emulator.sandbox import Isolation, Program, Running, Settings, start
from layerpack.events import Events
from layerpack.limits import RuntimeProfile
from tests.support.recipes import HERE

#: A handler whose event says what it shall do, and what it shall give.
HANDLER = """\
import ctypes, json, os, sys, time

print("imported")
CALLS = 0


def handler(event, context):
    global CALLS
    CALLS += 1
    if "print" in event:
        for _ in range(event["print"]):
            print("x" * 1023)
    if "exec" in event:
        scope = {"context": context}
        exec(event["exec"], scope)
        return scope.get("answer")
    return {"calls": CALLS, "event": event}
"""


#: The isolations of this machine; bubblewrap is a program that may not be installed.
ISOLATIONS = ("namespaces", pytest.param("bubblewrap", marks=pytest.mark.sandbox))

Starter = Callable[..., Environment]


@pytest.fixture
def program(tmp_path: Path, emulator_cache: Cache) -> Program:
    """The function, as a program of the emulator's."""
    return program_in(tmp_path / "program", emulator_cache)


def program_in(folder: Path, cache: Cache, handler: str = HANDLER, runtime: str = HERE) -> Program:
    """A function of one module, beside a layer with one."""
    (folder / "task").mkdir(parents=True)
    (folder / "task/app.py").write_text(handler)
    (folder / "opt/python/alpha").mkdir(parents=True)
    (folder / "opt/python/alpha/__init__.py").write_text("VALUE = 7\n")
    return Program(
        name="small",
        runtime=runtime,
        handler="app.handler",
        opt=folder / "opt",
        task=folder / "task",
        client=runtime_folder(RuntimeProfile.load(runtime, "x86_64"), cache, Events()),
        interpreter=Path(getattr(sys, "_base_executable", sys.executable)),
    )


class Log(bytearray):
    """What a function printed."""

    @property
    def text(self) -> str:
        """As text."""
        return self.decode(errors="replace")


def started(
    program: Program, log: Log, isolation: Isolation = "namespaces", **settings: object
) -> Environment:
    """An environment with settings of the test's own."""
    configured = Settings(**{"timeout": 20.0, **settings})  # type: ignore[arg-type]

    def starter(program: Program, settings: Settings) -> Running:
        return start(program, settings, isolation)

    return Environment(program, configured, starter, log.extend)
