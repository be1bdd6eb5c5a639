"""The share of a processor that a function's memory brings, imitated by stopping and going on.

Lambda gives a function as much of a virtual processor as its memory is of 1,769 MB ("Configure
Lambda function memory"), in periods of some milliseconds. Control groups would do the same, and
need rights that users lack.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from layerpack.process_tree import descendants

#: Memory that brings one whole virtual processor, in MB.
MB_A_PROCESSOR: Final = 1769
_PROC: Final = Path("/proc")
# Between two looks; a function gets ahead of its share by no more than its threads run in one.
_SECONDS: Final = 0.005


class ProcessorShare:
    """Holds a process and all that descend from it to `share` processors, on average.

    `share` may be above 1; one of what this machine has or more is no limit.
    """

    def __init__(self, process: int, share: float) -> None:
        self._process = process
        self._share = share
        # By number: a number may come to be another process's, what was opened never does.
        self._opened: dict[int, int] = {}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if share < (os.cpu_count() or 1):
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Limit it no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # What may still be used, in seconds; it does not pile up while nothing runs.
        budget = 0.0
        used: dict[int, int] = {}
        before = time.monotonic()
        stopped: set[int] = set()
        try:
            while not self._end.wait(_SECONDS):
                processes = self._open(descendants(self._process) | stopped)
                now = time.monotonic()
                current = _used(processes)
                taken = sum(time_ - used.get(thread, 0) for thread, time_ in current.items())
                budget += self._share * (now - before) - taken / 1e9
                budget = min(budget, self._share * _SECONDS)
                before, used = now, current
                if budget < 0:
                    stopped |= self._signal(processes - stopped, signal.SIGSTOP)
                elif stopped:
                    self._signal(stopped, signal.SIGCONT)
                    stopped = set()
        finally:
            self._signal(stopped, signal.SIGCONT)
            self._open(set())

    def _open(self, processes: set[int]) -> set[int]:
        """Open those that are new, and close those that are gone; returns those that are open."""
        for gone in self._opened.keys() - processes:
            os.close(self._opened.pop(gone))
        added = {}
        for process in processes - self._opened.keys():
            with suppress(OSError):
                added[process] = os.pidfd_open(process)
        # What was opened is what was meant, if it still descends from the process.
        still = descendants(self._process) if added else set()
        for process, descriptor in added.items():
            if process in still:
                self._opened[process] = descriptor
            else:
                os.close(descriptor)
        return processes & self._opened.keys()

    def _signal(self, processes: set[int], number: signal.Signals) -> set[int]:
        done = set()
        for process in processes:
            with suppress(OSError, KeyError):
                signal.pidfd_send_signal(self._opened[process], number)
                done.add(process)
        return done


def _used(processes: Iterable[int]) -> dict[int, int]:
    """Nanoseconds on a processor, by thread (proc(5), schedstat)."""
    found = {}
    for process in processes:
        with suppress(OSError, ValueError, IndexError):
            for thread in (_PROC / str(process) / "task").iterdir():
                text = (thread / "schedstat").read_text(encoding="ascii")
                found[int(thread.name)] = int(text.split()[0])
    return found
