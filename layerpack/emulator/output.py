"""What a function prints, passed on while it runs and in step with what it answers."""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import termios
import threading
from collections.abc import Callable
from typing import IO, Final

_CHUNK: Final = 1 << 16
_PATIENCE_SECONDS: Final = 2.0


class Output:
    """Reads a pipe to its end in a thread of its own; `sink` gets what comes."""

    def __init__(self, pipe: IO[bytes], sink: Callable[[bytes], None]) -> None:
        self._pipe = pipe
        self._sink = sink
        self._asks, self._asked = os.pipe()
        self._lock = threading.Lock()
        self._over = False
        self._flushes: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Return when all that is in the pipe by now has gone to the sink."""
        flushed = threading.Event()
        with self._lock:
            if self._over:
                return
            self._flushes.append(flushed)
            os.write(self._asked, b".")
        flushed.wait()

    def close(self) -> None:
        """Return when the pipe's other end is closed, and all of it has gone to the sink; or soon
        after, where a process that is nobody's any more keeps it open."""
        self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            return
        self._pipe.close()
        os.close(self._asks)
        os.close(self._asked)

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._pipe, selectors.EVENT_READ)
                selector.register(self._asks, selectors.EVENT_READ)
                while True:
                    ready = {key.fd for key, _ in selector.select()}
                    if self._asks in ready:
                        os.read(self._asks, 1)
                        self._read(self._waiting())
                        with self._lock:
                            self._flushes.pop(0).set()
                    elif not self._read(_CHUNK):
                        return
        finally:
            # Nobody may wait for a thread that has ended.
            with self._lock:
                self._over = True
                for flushed in self._flushes:
                    flushed.set()

    def _waiting(self) -> int:
        """Bytes in the pipe."""
        answer = fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def _read(self, size: int) -> bool:
        """Pass on up to so many bytes; false at the end."""
        while size > 0:
            data = os.read(self._pipe.fileno(), min(size, _CHUNK))
            if not data:
                return False
            self._sink(data)
            if len(data) < _CHUNK:
                return True
            size -= len(data)
        return True
