"""Running a command and measuring it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Wall time in seconds, peak resident memory in bytes of its largest process, exit code."""

    seconds: float
    peak_bytes: int
    returncode: int


def measure(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    folder: Path | None = None,
) -> Measured:
    """Run a command with its output shown only when it fails; exits when the code is unexpected."""
    started = time.perf_counter()
    with subprocess.Popen(
        [str(argument) for argument in arguments],
        env={**os.environ, **(environment or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        output = process.stdout.read() if process.stdout else b""
        # wait4 and not wait: it alone gives the memory of this child and its descendants.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode not in accept:
        sys.stderr.write(output.decode(errors="replace"))
        sys.exit(f"{arguments[0]} ended with {process.returncode}")
    # ru_maxrss is in KiB on Linux (getrusage(2)).
    return Measured(
        seconds=seconds, peak_bytes=usage.ru_maxrss * 1024, returncode=process.returncode
    )
