"""The memory that processes of a sandbox take, and the files they run code of (proc(5))."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from layerpack.emulator.mapped import mapped_files
from layerpack.process_tree import descendants

_PROC: Final = Path("/proc")
# Between two looks: a process that allocates as fast as it can gets some 100 MB further.
_SECONDS: Final = 0.02
# Lines of smaps (proc(5)), and in it a mapping of memory that processes share, with its share: an
# anonymous one, memfd_create(2)'s, System V's, and POSIX's. Not files in /tmp, which the kernel
# counts as shared memory where /tmp is a tmpfs: on Lambda they are on a disk.
_SIZE: Final = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_SHARED: Final = re.compile(
    r"^[0-9a-f]+-[0-9a-f]+ .* (?:/dev/zero|/memfd:|/SYSV|/dev/shm/|\[anon_shmem).*\n"
    r"((?:\w+: .*\n)*)",
    re.MULTILINE,
)
# Of its program and libraries, in status.
_CODE: Final = re.compile(r"^Vm(?:Exe|Lib):\s*(\d+)", re.MULTILINE)


class MemoryWatch:
    """Looks at a process and all that descend from it; `on_limit` is called once when they take
    more than `limit` bytes. `peak` is the most that they took, `read` what they read of files and
    mapped of them, in bytes; `mapped` are programs and libraries that they ran code of."""

    def __init__(self, process: int, limit: int, on_limit: Callable[[], None]) -> None:
        self.peak = 0
        self.read = 0
        self.mapped: set[str] = set()
        self._code: dict[int, tuple[str, ...]] = {}
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

    def look(self, *, anew: bool = False) -> None:
        """Look now; `anew`: list mappings even of processes whose code has its former size."""
        if anew:
            self._code = {}
        processes = descendants(self._process)
        self._look_at_code(processes)
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

    def _look_at_code(self, processes: set[int]) -> None:
        """See what is mapped by processes whose code has another size than at the last look: to
        list mappings takes long."""
        sizes = {one: tuple(_CODE.findall(_status(one))) for one in processes}
        changed = [one for one in processes if sizes[one] != self._code.get(one)]
        self._code = sizes
        self.mapped |= mapped_files(changed)


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
        kilobytes += int(dict(_SIZE.findall(rollup)).get("Pss_Anon", 0))
        for shared in _SHARED.finditer(maps):
            kilobytes += int(dict(_SIZE.findall(shared[1]))["Pss"])
    return kilobytes * 1024


def memory_of(processes: set[int]) -> tuple[int, int]:
    """Bytes that the processes take, and those of files that the kernel may drop again.

    Pages of files are shared by a process and its children: the most that one of them maps counts.
    """
    used = reclaimable = 0
    for process in processes:
        sizes = {
            name: int(value.split()[0]) * 1024
            for line in _status(process).splitlines()
            if line.startswith("Rss")
            for name, _, value in [line.partition(":")]
        }
        used += sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)
        reclaimable = max(reclaimable, sizes.get("RssFile", 0))
    return used, reclaimable


def _status(process: int) -> str:
    """What the kernel says of a process; empty where it is gone."""
    with suppress(OSError):
        return (_PROC / str(process) / "status").read_text(encoding="utf-8", errors="replace")
    return ""
