"""How much memory the processes of a sandbox take, by /proc (proc(5))."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# Between two looks: a process that allocates as fast as it can gets some 100 MB further.
_SECONDS: Final = 0.02
# Lines of smaps (proc(5)), and in it a mapping of a file in /tmp with its share.
_SIZE: Final = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_IN_TMP: Final = re.compile(
    r"^[0-9a-f]+-[0-9a-f]+ .* /tmp/.*\n(?:\w+: .*\n)*?Pss: +(\d+) kB$", re.MULTILINE
)


class MemoryWatch:
    """Looks at a process and all that descend from it; `on_limit` is called once when they take
    more than `limit` bytes. `peak` is the most that they took, `read` what they read of files and
    mapped of them, in bytes."""

    def __init__(self, process: int, limit: int, on_limit: Callable[[], None]) -> None:
        self.peak = 0
        self.read = 0
        self._process = process
        self._limit = limit
        self._on_limit = on_limit
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._end.set()
        self._thread.join()

    def look(self) -> None:
        """Look now."""
        processes = descendants(self._process)
        used, reclaimable = memory_of(processes)
        if used > self._limit:
            # Pages that a child shares with its parent were counted for both.
            used = exact_memory_of(processes, used)
        self.peak = max(self.peak, used + reclaimable)
        self.read = max(self.read, reclaimable + bytes_read_by(processes))
        if used > self._limit and not self._end.is_set():
            self._end.set()
            self._on_limit()

    def _run(self) -> None:
        while not self._end.wait(_SECONDS):
            self.look()


def descendants(process: int) -> set[int]:
    """A process and all that descend from it."""
    found = {process}
    waiting = [process]
    while waiting:
        one = waiting.pop()
        try:
            threads = list((_PROC / str(one) / "task").iterdir())
            children = [
                int(number)
                for thread in threads
                for number in (thread / "children").read_text(encoding="ascii").split()
            ]
        except (OSError, ValueError):
            continue
        waiting += [child for child in children if child not in found]
        found.update(children)
    return found


def bytes_read_by(processes: set[int]) -> int:
    """Bytes that the processes asked for by system calls, pipes and sockets included."""
    total = 0
    for process in processes:
        with suppress(OSError, ValueError):
            text = (_PROC / str(process) / "io").read_text(encoding="ascii")
            total += int(text.partition("rchar: ")[2].partition("\n")[0])
    return total


def exact_memory_of(processes: set[int], least: int) -> int:
    """Bytes that the processes take, shared pages counted once and files in /tmp not: on Lambda
    those are on a disk. `least` where the kernel does not tell. (This takes the kernel longer.)"""
    kilobytes = 0
    for process in processes:
        try:
            rollup = (_PROC / str(process) / "smaps_rollup").read_text(encoding="ascii")
            maps = (_PROC / str(process) / "smaps").read_text(encoding="utf-8", errors="replace")
        except PermissionError:
            return least
        except OSError:
            # It ended meanwhile.
            continue
        sizes = dict(_SIZE.findall(rollup))
        kilobytes += int(sizes.get("Pss_Anon", 0)) + int(sizes.get("Pss_Shmem", 0))
        kilobytes -= sum(int(match[1]) for match in _IN_TMP.finditer(maps))
    return kilobytes * 1024


def memory_of(processes: set[int]) -> tuple[int, int]:
    """Bytes that the processes take, and those of files that the kernel may drop again.

    Pages of files are shared by a process and its children: the most that one of them maps counts.
    """
    used = reclaimable = 0
    for process in processes:
        try:
            text = (_PROC / str(process) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        sizes = {
            name: int(value.split()[0]) * 1024
            for line in text.splitlines()
            if line.startswith("Rss")
            for name, _, value in [line.partition(":")]
        }
        used += sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)
        reclaimable = max(reclaimable, sizes.get("RssFile", 0))
    return used, reclaimable
