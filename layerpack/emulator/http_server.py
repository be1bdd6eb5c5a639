"""What the emulator's two HTTP servers share."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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

        Raises ValueError for what is none.
        """
        body = b""
        too_large = False
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
            too_large |= len(body) > largest
            body = b"" if too_large else body
        # Trailers, and an empty line.
        while self.rfile.readline().strip():
            pass
        return None if too_large else body

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
