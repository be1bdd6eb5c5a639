"""What the emulator's two HTTP servers share."""

from __future__ import annotations

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_LONGEST_LINE: Final = 1 << 16
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n")


class Server(ThreadingHTTPServer):
    """A thread for each connection, for which nobody waits at the end."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was killed, is no news; all else is a bug."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers are one write, and sent at once: the client waits for them."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def chunks_of(self, largest: int) -> bytes | None:
        """A body that comes in chunks ("HTTP/1.1", RFC 9112, 7.1), as `body_of` gives one.

        Raises ValueError for what is none, and ConnectionError as `body_of` does.
        """
        body: bytes | None = b""
        while size := _chunk_size(self._line()):
            chunk = self.body_of(size, largest - len(body or b""))
            body = None if body is None or chunk is None else body + chunk
            self._line()
        # Trailers, and an empty line.
        while self._line().strip():
            pass
        return body

    def _line(self) -> bytes:
        line = self.rfile.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError("the client went away in the middle of its request")
        return line

    def body_of(self, size: int, largest: int) -> bytes | None:
        """A body of `size` bytes; None for one that is larger than it may be.

        Raises ConnectionError where the client goes away before its end.
        """
        if size <= largest:
            body = self.rfile.read(size)
            if len(body) < size:
                raise ConnectionError("the client went away in the middle of its request")
            return body
        # Read all the same, or the client would get a broken connection for an answer.
        while size > 0:
            size -= len(self.rfile.read(min(size, 1 << 20))) or size
        return None

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """The function's own log tells of its requests."""


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} is no size of a chunk")
    return int(match[1], 16)
