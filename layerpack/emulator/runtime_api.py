"""The Runtime API that Lambda's client for Python asks for work, on a socket of the sandbox's.

Paths, headers and status codes are those of AWS's "Using the Lambda runtime API" and its
OpenAPI description (2018-06-01).
"""

from __future__ import annotations

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from layerpack.emulator.http_event import HttpResponse
from layerpack.emulator.http_guard import foreign_reason
from layerpack.emulator.http_server import HttpRequest, HttpServer, Limits

#: Lambda's quota for a synchronous answer: 6 MiB and a little for the envelope.
LARGEST_PAYLOAD: Final = 6 * 2**20 + 100
_ROOT: Final = "/2018-06-01/runtime/"
_RESULT = re.compile(r"invocation/(?P<request>[^/]+)/(?P<kind>response|error)")
_LIMITS: Final = Limits(
    # The client sends up to 1 MiB of an error's cause in a header.
    head_bytes=1 << 21,
    body_bytes=LARGEST_PAYLOAD,
    connections=64,
    # It says nothing while the handler runs, and the environment has its own timeout.
    idle=None,
    transfer=None,
)
_HOST: Final = "127.0.0.1"
_ERROR_TYPE: Final = "lambda-runtime-function-error-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the client is given: an event (JSON), and what its context tells of."""

    id: str
    event: bytes
    deadline_ms: int
    function_arn: str
    client_context: str = ""
    trace_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What the client said: that it is `ready` for a request (`next`), or how one ended; or that
    its process has `ended`.

    `body` is JSON as it came; `error_type` as its header has it; `at` is when, by the monotonic
    clock.
    """

    kind: Literal["ready", "response", "error", "init error", "too large", "ended"]
    request: str = ""
    body: bytes = b""
    error_type: str = ""
    at: float = field(default_factory=time.monotonic)


class RuntimeApi:
    """Serves one client on a listening socket; what it says arrives in `messages`, and `report`
    gets a line where serving it fails."""

    def __init__(self, listener: socket.socket, report: Callable[[str], None]) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.current = ""
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._server = HttpServer(listener, self._answer, _LIMITS, report)
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()

    def give(self, request: Request) -> None:
        """Answer the client's `next` with a request."""
        self.current = request.id
        self._requests.put(request)

    def close(self) -> None:
        """Stop serving; a client that waits is let go."""
        self._requests.put(None)
        self._server.close()
        self._thread.join()

    def _answer(self, request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        if reason := foreign_reason(request, _HOST):
            send(_response(403, _problem("Forbidden", reason)))
        elif request.method == "POST":
            self._take(request, send)
        elif (request.method, request.target) == ("GET", _ROOT + "invocation/next"):
            self.messages.put(Message(kind="ready"))
            self._give_next(send)
        else:
            send(_response(404, _problem("ResourceNotFound", request.target)))

    def _give_next(self, send: Callable[[HttpResponse], None]) -> None:
        """Send the next request, awaited as long as it takes; nothing when there will be none."""
        given = self._requests.get()
        if given is None:
            # There may be others who wait.
            self._requests.put(None)
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": given.id,
            "Lambda-Runtime-Deadline-Ms": str(given.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": given.function_arn,
            "Lambda-Runtime-Client-Context": given.client_context,
            "Lambda-Runtime-Trace-Id": given.trace_id,
        }
        send(_response(200, given.event, {k: v for k, v in headers.items() if v}))

    def _take(self, request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        """Hear how a request ended, or that there will be none."""
        body, error_type = request.body, request.header(_ERROR_TYPE)
        path = request.target.removeprefix(_ROOT)
        match = _RESULT.fullmatch(path)
        if path == "init/error":
            message = Message(kind="init error", body=body or b"", error_type=error_type)
        elif match is None:
            send(_response(404, _problem("ResourceNotFound", request.target)))
            return
        elif match["request"] != self.current:
            send(_response(400, _problem("InvalidRequestID", "Invalid request ID")))
            return
        elif body is None:
            message = Message(kind="too large", request=match["request"])
        else:
            message = Message(
                kind="error" if match["kind"] == "error" else "response",
                request=match["request"],
                body=body,
                error_type=error_type,
            )
        # Before the client hears of it: it may end at once.
        self.messages.put(message)
        if body is None:
            text = "Exceeded maximum payload size"
            send(_response(413, _problem("RequestEntityTooLarge", text)))
        else:
            send(_response(202, json.dumps({"status": "OK"}).encode()))


def _response(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpResponse:
    given = (*(headers or {}).items(), ("Content-Type", "application/json"))
    return HttpResponse(status=status, headers=given, body=body)


def _problem(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
