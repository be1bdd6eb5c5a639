"""Processes that others started: finding and ending them by /proc (proc(5)).

A number that was read may be another process's by the time it is used. So a process is opened
(pidfd_open(2)), looked at again, and signalled by what was opened.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
#: prctl(2).
_PR_SET_CHILD_SUBREAPER: Final = 36
# A process that the kernel does not let go (waiting for a network disk, say) is given up.
_SECONDS: Final = 5.0


class _Process(NamedTuple):
    number: int
    state: str
    parent: int
    session: int
    #: In ticks of the clock since the machine began; with its number no other process's.
    start: str

    @property
    def lives(self) -> bool:
        return self.state not in "ZX"


def adopt_orphans() -> None:
    """Become the parent of processes whose own has ended, instead of process 1.

    Does nothing where the system has no prctl(2), or the interpreter no ctypes.
    """
    with suppress(ImportError, AttributeError, OSError):
        import ctypes  # noqa: PLC0415 (loads slowly, and an interpreter may lack it)

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(process: int) -> set[int]:
    """A process and all that descend from it.

    The kernel lists the children of each thread (CONFIG_PROC_CHILDREN), which takes much less than
    a look at all processes. One may be missing while a sibling of it goes.
    """
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


def end_session(leader: int) -> None:
    """Kill all processes of a session whose leader has ended and is not reaped, and wait for their
    ends."""
    # The number of a leader that is not reaped is its own. Programs such as ninja give theirs
    # groups of their own.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    # They need not descend from it any more.
    _end(lambda: {one.number for one in _processes() if one.session == leader} - {leader})


def start_of(number: int) -> str:
    """When a process started, in the kernel's words; empty where that cannot be told."""
    one = _process(number)
    return one.start if one else ""


def end_left_session(leader: int, start: str) -> None:
    """Kill all processes of the session of a leader that started then (`start_of`), and that some
    parent may have reaped by now."""
    one = _process(leader)
    # While anything of a session is there, the kernel gives its number to no other process.
    if one is None or one.start == start:
        _end(lambda: {one.number for one in _processes() if one.session == leader})


def end_descendants() -> None:
    """Kill all that descends from this process, and wait for their ends."""
    own = os.getpid()
    _end(lambda: descendants(own) - {own})


def _end(find: Callable[[], set[int]]) -> None:
    # Again and again, as they may start others meanwhile.
    until = time.monotonic() + (_SECONDS if _PROC.is_dir() else 0.0)
    while time.monotonic() < until:
        found = [_process(number) for number in find()]
        living = [one for one in found if one is not None and one.lives]
        if not living:
            # Where one has gone meanwhile, a sibling of it may have been passed over.
            if None not in found:
                return
            continue
        waiting = select.poll()
        opened = []
        for one in living:
            with suppress(OSError):
                descriptor = os.pidfd_open(one.number)
                opened.append(descriptor)
                again = _process(one.number)
                if again is not None and again[2:] == one[2:]:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    waiting.register(descriptor, select.POLLIN)
        waiting.poll(100)
        for descriptor in opened:
            os.close(descriptor)


def _processes() -> Iterator[_Process]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (one := _process(int(folder.name))):
            yield one


def _process(number: int) -> _Process | None:
    """What proc_pid_stat(5) says of it; None where it is gone."""
    try:
        # The name, in parentheses, may hold any character.
        text = (_PROC / str(number) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return _Process(number, fields[0], int(fields[1]), int(fields[3]), fields[19])
