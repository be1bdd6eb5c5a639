"""The door to the programs that a build runs.

The emulator starts its sandboxes itself (emulator/sandbox.py, and what runs in them); loader.py and
emulator/system.py ask the loader and an interpreter, as they also run in containers; elf/, which
stands alone, compiles the pager.

Every program has a session of its own, and all of that session ends with it: before the program is
reaped, so that its number is still its own and no other process is ever signalled. Where layerpack
itself is killed, its keeper (process_keeper.py) ends them.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from layerpack.bounded import Bounded
from layerpack.child_variables import neutral_variables
from layerpack.errors import BuildToolError
from layerpack.process_keeper import KEEPER
from layerpack.process_tree import adopt_orphans, end_descendants, end_session
from layerpack.units import without_users

_CHUNK: Final = 1 << 16
# The most that a pipe holds (pipe(7), /proc/sys/fs/pipe-max-size), and so is there at the end.
_PIPE: Final = 1 << 20
#: Characters of a line that are shown, at least; of a longer one the rest is not.
_LONGEST_LINE: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a process ended: its exit code, standard output and standard error as text (see Bounded
    for those that are very long)."""

    returncode: int
    output: str
    errors: str

    def tail(self, lines: int = 12) -> str:
        """The last lines that it printed, standard error first, for an error message."""
        text = (self.errors.strip() or self.output.strip()).splitlines()
        return "\n".join(text[-lines:])


class TimedOutError(BuildToolError):
    """A program has not ended in its time."""


class EndingError(BuildToolError):
    """A signal ends layerpack."""


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
    bare: bool = False,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    hide: bool = True,
    seconds: float | None = None,
) -> Result:
    """Run a program to its end, without a shell.

    Its variables are `environment` and, unless `bare`, those of `neutral_variables`; `on_line` gets
    every line of standard output while it runs. What it leaves running is killed at its end. With
    `hide`, users and passwords in addresses that it prints are replaced by `****`. Raises
    BuildToolError when the program cannot be started, and TimedOutError when it runs for more than
    `seconds`; a non-zero exit is for the caller to judge.
    """
    end = None if seconds is None else time.monotonic() + seconds
    variables = {**({} if bare else neutral_variables()), **(environment or {})}
    try:
        with _started(arguments, variables, folder) as (process, ended):
            assert process.stdout is not None and process.stderr is not None  # noqa: S101
            output = Lines(on_line or (lambda line: None), hide=hide)
            errors = Lines(lambda line: None)
            _read({process.stdout.fileno(): output, process.stderr.fileno(): errors}, ended, end)
    except TimeoutError:
        raise TimedOutError(f"{arguments[0]} has not ended after {seconds:g} s") from None
    except _CannotStartError as error:
        raise BuildToolError(f"{arguments[0]} cannot be started: {error}") from None
    return Result(returncode=process.returncode, output=output.text, errors=errors.text)


class Lines:
    """Text that comes in pieces of bytes, given to `on_line` line by line; with `hide`, without
    users and passwords in addresses."""

    def __init__(self, on_line: Callable[[str], None], *, hide: bool = True) -> None:
        self._hidden = without_users if hide else str
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._on_line = on_line
        self._all = Bounded()
        # The line that has not ended, in pieces, and their characters.
        self._rest: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        """All of it, or its beginning and its end (see Bounded)."""
        return self._hidden(self._all.text)

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next piece."""
        self._all.extend(data)
        first, *others = self._decode(data, final).split("\n")
        self._add(first)
        for line in others:
            self._show()
            self._add(line)

    def end(self) -> None:
        """There is no more."""
        self.feed(b"", final=True)
        if self._size:
            self._show()

    def _add(self, piece: str) -> None:
        self._rest.append(piece)
        self._size += len(piece)
        if self._size > 2 * _LONGEST_LINE:
            self._rest = [_last_shown("".join(self._rest))[:_LONGEST_LINE]]
            self._size = len(self._rest[0])

    def _show(self) -> None:
        line = _last_shown("".join(self._rest).rstrip("\r"))
        self._rest.clear()
        self._size = 0
        self._on_line(self._hidden(line))


def _last_shown(line: str) -> str:
    """What a terminal would show of a line at last: progress bars begin it over and over."""
    return line.rpartition("\r")[2]


# Programs that run, by number: each until it is about to be reaped. Reentrant, as a signal's
# handler may interrupt the thread that holds it.
_lock: Final = threading.RLock()
_running: Final[set[int]] = set()
_ending: Final = threading.Event()
_in_charge: Final = threading.Event()


def take_charge() -> None:
    """This process is layerpack's own: orphans of the programs that it starts become its children,
    so that `end_all` and `end_rest` find them."""
    _in_charge.set()


def end_all() -> None:
    """Kill every program that runs with all that it started, and start no more: for a signal's
    handler. Who waits for one of them goes on with its failure."""
    _ending.set()
    with _lock:
        for number in _running:
            # Not reaped, so the number is its own.
            os.kill(number, signal.SIGKILL)


def stop_if_ending() -> None:
    """For long work in a thread, between its parts: who ends layerpack waits for all threads.

    Raises EndingError after `end_all`.
    """
    if _ending.is_set():
        raise EndingError("layerpack is ending")


def end_rest() -> None:
    """After `end_all` and the cleaning up that follows it: kill what still descends from this
    process."""
    if _ending.is_set() and _in_charge.is_set():
        end_descendants()


class _CannotStartError(Exception):
    pass


@contextmanager
def _started(
    arguments: Sequence[str | Path], environment: Mapping[str, str], folder: Path | None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The running program, and a descriptor to read from once it and its session have ended; it is
    reaped in the end, and killed before where an exception comes."""
    if _in_charge.is_set():
        adopt_orphans()
    with _lock:
        if _ending.is_set():
            raise _CannotStartError("layerpack is ending")
        KEEPER.ready()
        try:
            # Before the program: nothing that fails may leave it unwatched.
            ended, theirs = os.pipe()
        except OSError as error:
            raise _CannotStartError(error.strerror) from None
        try:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException as error:
            os.close(ended)
            os.close(theirs)
            if isinstance(error, OSError):
                raise _CannotStartError(error.strerror) from None
            raise
        _running.add(process.pid)
        KEEPER.watch(process.pid)
    watch = threading.Thread(target=_watch, args=(process, theirs), daemon=True)
    try:
        try:
            watch.start()
        except RuntimeError as error:
            raise _CannotStartError(str(error)) from None
        yield process, ended
    except BaseException:
        # A cancelled build leaves no process behind.
        os.kill(process.pid, signal.SIGKILL)
        raise
    finally:
        if watch.ident is None:
            # No thread could be started: the system has no more.
            _watch(process, theirs)
        else:
            watch.join()
        os.close(ended)
        with _lock:
            _running.discard(process.pid)
            KEEPER.forget(process.pid)
        with process:
            process.wait()


def _watch(process: subprocess.Popen[bytes], ended: int) -> None:
    """Kill a program's session once it has ended: who is left may hold its pipes for ever."""
    if hasattr(os, "waitid"):
        # Without reaping it, so that its number stays its own.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            end_session(process.pid)
    else:  # macOS before Python 3.13
        process.wait()
    os.close(ended)


def _read(streams: Mapping[int, Lines], ended: int, end: float | None) -> None:
    """Read until the streams end. What left the program's session may hold them for ever: when
    the program has ended, what it has printed is read, and no more is waited for. Raises
    TimeoutError when it still runs at `end` on the monotonic clock."""
    left = dict.fromkeys(streams, _PIPE)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        over = False
        while len(selector.get_map()) > (0 if over else 1):
            ready = selector.select(0 if over else end and max(0, end - time.monotonic()))
            if not ready and not over:
                raise TimeoutError
            if not ready:
                break
            for key, _ in ready:
                if key.fd == ended:
                    over = True
                    selector.unregister(ended)
                    continue
                data = os.read(key.fd, _CHUNK)
                streams[key.fd].feed(data)
                left[key.fd] -= len(data) if over else 0
                if not data or left[key.fd] <= 0:
                    selector.unregister(key.fd)
    for lines in streams.values():
        lines.end()
