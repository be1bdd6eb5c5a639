"""Ends the programs of a layerpack that was killed: SIGKILL leaves it no time to do that itself.

The keeper is a process of its own, run by this file. Its standard input is a pipe from layerpack: a
line `NUMBER START` for each program that starts (the number of the process, which is its session's,
and when it started, by proc_pid_stat(5)), and `NUMBER` before that is reaped. Once the pipe ends,
the sessions that are left end with it. prctl(2)'s PR_SET_PDEATHSIG would need code within each
program, and does not reach what those start.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    # Python's `-I` leaves this out.
    sys.path.insert(0, str(Path(__file__).parents[1]))

from layerpack.child_variables import neutral_variables
from layerpack.process_tree import end_left_session, start_of


class Keeper:
    """This process's keeper, started by `ready`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._owner = 0
        self._watched: set[int] = set()
        self._starting = threading.Lock()
        os.register_at_fork(after_in_child=self._leave)
        atexit.register(self._close)

    def ready(self) -> None:
        """Start it, unless it runs. Where the system has no room for it, there is none."""
        with self._starting, suppress(OSError):
            if self._pipe >= 0:
                return
            theirs, self._pipe = os.pipe()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-B", __file__],
                    env=neutral_variables(),
                    cwd="/",
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._owner = os.getpid()
            except OSError:
                self._leave()
            finally:
                os.close(theirs)

    def watch(self, number: int) -> None:
        """End the session of this child, its leader, if this process ends before `forget`."""
        if start := start_of(number):
            self._watched.add(number)
            self._tell(f"{number} {start}\n")

    def forget(self, number: int) -> None:
        """A child has ended, and is about to be reaped."""
        self._watched.discard(number)
        self._tell(f"{number}\n")

    def _tell(self, line: str) -> None:
        if self._pipe >= 0:
            with suppress(OSError):
                os.write(self._pipe, line.encode())

    def _leave(self) -> None:
        """Have none: a forked process starts its own, and must not hold the pipe."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
            self._watched.clear()
            self._starting = threading.Lock()

    def _close(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            if not self._watched:
                # It may still be starting.
                self._process.kill()
            self._leave()
            self._process.wait()


#: For all programs that this process starts.
KEEPER: Final = Keeper()


def main() -> None:
    """Be the keeper."""
    programs: dict[int, str] = {}
    for line in sys.stdin:
        number, _, start = line.strip().partition(" ")
        if start:
            programs[int(number)] = start
        else:
            programs.pop(int(number), None)
    for leader, start in programs.items():
        end_left_session(leader, start)


if __name__ == "__main__":
    main()
