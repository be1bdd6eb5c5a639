"""A function's process on this machine: watched, waited for, killed with all that it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from layerpack.emulator.memory import MemoryWatch
from layerpack.emulator.processor import ProcessorShare
from layerpack.process_keeper import KEEPER
from layerpack.scratch import ScratchFolder

#: The programs that run in sandboxes.
INSIDE: Final = Path(__file__).with_name("inside")


class RunningProcess:
    """A sandbox (see sandbox.Running) whose process is one of this machine's, held to its memory
    (in MB) and processors (None: all that there are); with `as_shells` it adds 128 to a signal's
    number."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        listener: socket.socket,
        scratch: ScratchFolder,
        *,
        memory_mb: int,
        processors: float | None = None,
        as_shells: bool = False,
    ) -> None:
        assert process.stdout is not None  # noqa: S101
        self.output = process.stdout
        self.listener = listener
        self.out_of_memory = False
        self._process = process
        self._reaping = threading.Lock()
        self._as_shells = as_shells
        self._scratch = scratch
        self._watch = MemoryWatch(process.pid, memory_mb * 2**20, self._limit)
        self._share: ProcessorShare | None = None
        if processors is not None:
            self._share = ProcessorShare(process.pid, processors)

    @property
    def mapped(self) -> set[str]:
        """See sandbox.Running."""
        own = (self._scratch.name, str(INSIDE))
        # Of a copy: the watch goes on.
        return {path for path in set(self._watch.mapped) if not path.startswith(own)}

    def look(self) -> tuple[int, int]:
        """See sandbox.Running."""
        self._watch.look(anew=True)
        return self._watch.peak, self._watch.read

    def wait(self) -> int:
        """See sandbox.Running. It is not reaped before `end`: until then its number is its own."""
        with suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            assert ended is not None  # noqa: S101 (only with WNOHANG)
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            return self._told(code)
        return self._told(self._process.wait())

    def _told(self, code: int) -> int:
        if self._as_shells and code - 128 in set(signal.Signals):
            return 128 - code
        return code

    def kill(self) -> None:
        """See sandbox.Running; without namespaces, what left the process's group may go on."""
        # In namespaces the group's first is process 1's parent, and all else ends with it.
        with self._reaping:
            # Once it is reaped, its number may be another's.
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """See sandbox.Running."""
        self.wait()
        KEEPER.forget(self._process.pid)
        with self._reaping:
            self._process.wait()
        self._watch.close()
        if self._share is not None:
            self._share.close()
        self._scratch.cleanup()

    def _limit(self) -> None:
        self.out_of_memory = True
        self.kill()
