"""The engine as a remote one: through TCP, and through a connection that may be slow or break."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from layerpack.docker_engine import engine_address


class Connection:
    """A way to the engine: its address for DOCKER_HOST; what happens on it can be steered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        # By the time of a connection, DOCKER_HOST may name this.
        self._engine = engine_address()[0]
        self._open: list[socket.socket] = []
        self._hold = b""
        self.joins = False
        """Whether an answer's head waits for what follows it, as a slow network may have it."""
        self.held = threading.Event()
        self._go_on = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, request: bytes) -> None:
        """Let the next request that has these bytes reach the engine, and keep back the answer."""
        self._hold = request

    def go_on(self) -> None:
        """Let the answer that was kept back through."""
        self._go_on.set()

    def cut(self) -> None:
        """Break every connection, and take no other."""
        # A listener that is only closed would still take the connection that `accept` waits for.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = _connected(self._engine)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self._hold and self._hold in data:
                    self._hold = b""
                    target.sendall(data)
                    # By then the engine has it, and answers what the other direction keeps back.
                    self.held.set()
                    continue
                if self.held.is_set():
                    self._go_on.wait(60)
                if self.joins and data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
                    data += self._following(source)
                target.sendall(data)
        # That one side has ended is told to the other, as a network does.
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    @staticmethod
    def _following(source: socket.socket) -> bytes:
        """What comes next, if it comes soon."""
        ready, _, _ = select.select([source], [], [], 1.0)
        return source.recv(1 << 16) if ready else b""


def _connected(address: str) -> socket.socket:
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(rest)
        return connected
    host, _, port = rest.rpartition(":")
    return socket.create_connection((host, int(port)))


@contextmanager
def remote() -> Iterator[Connection]:
    """A connection to the engine of these tests, ended after the block."""
    connection = Connection()
    try:
        yield connection
    finally:
        connection.go_on()
        connection.cut()
