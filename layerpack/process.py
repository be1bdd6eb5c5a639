"""The only door to subprocesses."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from layerpack.errors import BuildToolError


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a process ended: its exit code, standard output and standard error as text."""

    returncode: int
    output: str
    errors: str

    def tail(self, lines: int = 12) -> str:
        """The last lines that it printed, standard error first, for an error message."""
        text = (self.errors.strip() or self.output.strip()).splitlines()
        return "\n".join(text[-lines:])


class Runner(Protocol):
    """Runs a program like `run`, on this machine or in a container.

    The program sees the files of `folder`, and what it writes there is there when it ends.
    """

    def __call__(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Result:
        """See `run`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A program, as the words that begin its command line, and what runs it."""

    command: tuple[str, ...]
    run: Runner


def run(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    inherit: bool = True,
    alone: bool = False,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Result:
    """Run a program to its end, without a shell.

    `environment` is added to this process's, or is all there is without `inherit`; `on_line` gets
    every line of standard output while it runs. With `alone` it has a session of its own, and what
    it leaves running is killed at its end. Raises BuildToolError when the program cannot be
    started; a non-zero exit is for the caller to judge.
    """
    try:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            env={**(os.environ if inherit else {}), **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=alone,
        )
    except OSError as error:
        raise BuildToolError(f"{arguments[0]} cannot be started: {error.strerror}") from None
    if alone:
        threading.Thread(target=_end_group, args=(process,), daemon=True).start()
    with process:
        try:
            return _collect(process, on_line)
        except BaseException:
            # A cancelled build leaves no process behind.
            process.kill()
            raise


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill a program's group once it has ended: who is left may hold its pipes for ever."""
    # Without reaping it, so that its number stays its own; who waits for it may have been faster.
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _collect(process: subprocess.Popen[str], on_line: Callable[[str], None] | None) -> Result:
    if on_line is None:
        output, errors = process.communicate()
        return Result(returncode=process.returncode, output=output, errors=errors)
    assert process.stdout is not None and process.stderr is not None  # noqa: S101
    # Standard error is drained beside standard output, or a full pipe would stop the program.
    caught: list[str] = []
    stream = process.stderr
    drain = threading.Thread(target=lambda: caught.append(stream.read()), daemon=True)
    drain.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        on_line(line.rstrip("\n"))
    drain.join()
    return Result(returncode=process.wait(), output="".join(lines), errors="".join(caught))
