"""HTTP/1.1 for the emulator's two servers: h11 on sockets, with a thread for each connection.

Status codes are those of "HTTP Semantics" (RFC 9110, 15) and "Additional HTTP Status Codes" (RFC
6585, 5).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http.client import responses
from typing import Final

import h11

from layerpack.emulator.http_event import HttpResponse

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CHUNK: Final = 1 << 16
_BACKLOG: Final = 128
# Until a file descriptor may be free again.
_PAUSE_SECONDS: Final = 0.1
# A client that still sends would lose its answer if the connection were closed at once.
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 1 << 26
# The server sets these.
_OWN_HEADERS: Final = frozenset({"connection", "content-length", "date", "transfer-encoding"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The most that clients may take: the bytes of a request's head and body, `connections` at a
    time, the seconds between two requests (`idle`), and those for sending one or taking its answer
    (`transfer`); None is no limit."""

    head_bytes: int
    body_bytes: int
    connections: int
    idle: float | None
    transfer: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """A whole request: header names are in lower case; `body` is None if it was larger than the
    limit; `client` and `here` are the IP addresses at both ends of the connection."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    client: str
    here: str

    def header(self, name: str, default: str = "") -> str:
        """A header's first value; `name` is in lower case."""
        return next((value for one, value in self.headers if one == name), default)


#: Gets a request, and the function that sends its response; without one the connection is closed.
Answer = Callable[[HttpRequest, Callable[[HttpResponse], None]], None]


class HttpServer:
    """Serves HTTP on a listening socket, which it closes. A request for which `answer` raises an
    exception gets status 500, and `report` a line on it."""

    def __init__(
        self,
        listener: socket.socket,
        answer: Answer,
        limits: Limits,
        report: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._limits = limits
        self._report = report
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._slots = threading.Semaphore(limits.connections)

    def serve(self) -> None:
        """Serve until `stop`, or an exception such as KeyboardInterrupt."""
        while not self._stopped.is_set():
            # Further clients wait in the system's queue.
            self._slots.acquire()
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Stopped, or no file descriptor is free.
                self._slots.release()
                self._stopped.wait(_PAUSE_SECONDS)
            else:
                self._start(connection)

    def _start(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        if self._stopped.is_set():
            self._end(connection)
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:
            # The system gives no further thread.
            self._end(connection)

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._stopped.set()
        self._slots.release()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and hear no further request; an answer to one that was heard is still sent."""
        self.stop()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(_GoneError):
                served = _Connection(connection, self._answer, self._limits, self._report)
                while served.exchange():
                    pass
        finally:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
            connection.close()
        self._slots.release()


def listening(host: str, port: int) -> socket.socket:
    """A listening socket at a name or address, by IPv4 if it has both. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG)


def refusal(status: int, message: str = "") -> HttpResponse:
    """A response that says in JSON why a request is refused."""
    body = json.dumps({"message": message or responses[status]}).encode()
    headers = (("content-type", "application/json"),)
    return HttpResponse(status=status, headers=headers, body=body)


class _GoneError(Exception):
    """The client closed the connection, or takes too long for its answer."""


class _SlowError(Exception):
    """The client takes too long for its request."""


class _Connection:
    """A client's connection."""

    def __init__(
        self,
        connection: socket.socket,
        answer: Answer,
        limits: Limits,
        report: Callable[[str], None],
    ) -> None:
        self._socket = connection
        self._answer = answer
        self._report = report
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._deadline: float | None = None
        self._begun = self._is_head = False
        try:
            # An answer is one write, and the client waits for it.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client = connection.getpeername()[0]
            self._here = connection.getsockname()[0]
        except OSError as error:
            raise _GoneError from error

    def exchange(self) -> bool:
        """Answer one request: whether another one may come. Raises _GoneError."""
        try:
            request = self._request()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return False
        except _SlowError:
            if self._begun:
                self._refuse(408)
            return False
        if request is None:
            return False
        if request.method not in _METHODS:
            self._send(refusal(501))
        elif not self._answered(request):
            return False
        if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._linger()
            return False
        self._http.start_next_cycle()
        return True

    def _answered(self, request: HttpRequest) -> bool:
        """Whether a request was answered, and not by a failure of this program. Raises
        _GoneError."""
        try:
            self._answer(request, self._send)
        except _GoneError:
            raise
        except Exception as error:
            self._report(f"{request.method} {request.target}: {type(error).__name__}: {error}")
            self._refuse(500)
            return False
        return True

    # What comes.

    def _request(self) -> HttpRequest | None:
        """The next request, None if there is none.

        Raises h11.RemoteProtocolError, _SlowError and _GoneError.
        """
        self._begun = self._is_head = False
        self._deadline = _after(self._limits.idle)
        if self._http.trailing_data[0]:
            self._begin()
        head = self._event()
        if not isinstance(head, h11.Request):
            return None
        self._is_head = head.method == b"HEAD"
        if not head.http_version.startswith(b"1."):
            raise h11.RemoteProtocolError("another protocol", error_status_hint=505)
        return HttpRequest(
            method=head.method.decode("ascii"),
            target=head.target.decode("ascii"),
            headers=tuple((n.decode("ascii"), v.decode("latin-1")) for n, v in head.headers),
            body=self._body(head),
            client=self._client,
            here=self._here,
        )

    def _body(self, head: h11.Request) -> bytes | None:
        """The request's body; None as soon as it is known to be larger than the limit."""
        most = self._limits.body_bytes
        announced = next((value for name, value in head.headers if name == b"content-length"), b"0")
        if int(announced) > most:
            return None
        body = bytearray()
        while isinstance(event := self._event(), h11.Data):
            body += event.data
            if len(body) > most:
                return None
        return bytes(body)

    def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._write(self._http.send(go_on))
            self._http.receive_data(self._read())
        return event

    def _read(self) -> bytes:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise _SlowError
        try:
            self._socket.settimeout(left)
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise _SlowError from None
        except OSError as error:
            raise _GoneError from error
        if data and not self._begun:
            self._begin()
        return data

    def _begin(self) -> None:
        """The first byte of a request is here."""
        self._begun = True
        self._deadline = _after(self._limits.transfer)

    # What goes.

    def _send(self, response: HttpResponse) -> None:
        headers = [(name, value.strip()) for name, value in response.headers]
        headers = [(name, value) for name, value in headers if name.lower() not in _OWN_HEADERS]
        # These have no body (RFC 9110, 15.3.5 and 15.4.5).
        is_bare = response.status in (204, 304)
        if not is_bare:
            headers.append(("Content-Length", str(len(response.body))))
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        headers.append(("Date", formatdate(usegmt=True)))
        events: list[h11.Event] = [
            h11.Response(
                status_code=response.status,
                headers=[(n.encode("ascii"), v.encode("latin-1")) for n, v in headers],
                reason=responses.get(response.status, "").encode("ascii"),
            )
        ]
        if response.body and not is_bare and not self._is_head:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        self._write(b"".join(self._http.send(event) or b"" for event in events))

    def _write(self, data: bytes | None) -> None:
        try:
            self._socket.settimeout(self._limits.transfer)
            self._socket.sendall(data or b"")
        except OSError as error:
            raise _GoneError from error

    def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(refusal(status))
            self._linger()

    def _linger(self) -> None:
        """Close for writing, and let the client send what it has begun, within bounds."""
        end = time.monotonic() + _LINGER_SECONDS
        left = _LINGER_BYTES
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := end - time.monotonic()) > 0:
                self._socket.settimeout(seconds)
                data = self._socket.recv(_CHUNK)
                if not data:
                    return
                left -= len(data)


def _after(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
