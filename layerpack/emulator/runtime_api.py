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
from dataclasses import dataclass, field
from typing import Final, Literal

from layerpack.emulator.http_server import Handler, Server

#: Lambda's quota for a synchronous answer: 6 MiB and a little for the envelope.
LARGEST_PAYLOAD: Final = 6 * 2**20 + 100
_ROOT: Final = "/2018-06-01/runtime/"
_RESULT = re.compile(r"invocation/(?P<request>[^/]+)/(?P<kind>response|error)")
# How long closing may take.
_POLL_SECONDS: Final = 0.05
_ERROR_TYPE: Final = "Lambda-Runtime-Function-Error-Type"


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
    """Serves one client on a listening socket; what it says arrives in `messages`."""

    def __init__(self, listener: socket.socket) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.current = ""
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._server = _Server(listener, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )
        self._thread.start()

    def give(self, request: Request) -> None:
        """Answer the client's `next` with a request."""
        self.current = request.id
        self._requests.put(request)

    def next_request(self) -> Request | None:
        """The next request, awaited as long as it takes; None when there will be none."""
        return self._requests.get()

    def close(self) -> None:
        """Stop serving; a client that waits is let go."""
        self._requests.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(Server):
    def __init__(self, listener: socket.socket, api: RuntimeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.api = api


class _Handler(Handler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 (http.server looks for it)
        if self.path != _ROOT + "invocation/next":
            self._answer(404, _problem("ResourceNotFound", self.path))
            return
        self.server.api.messages.put(Message(kind="ready"))
        request = self.server.api.next_request()
        if request is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request.id,
            "Lambda-Runtime-Deadline-Ms": str(request.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": request.function_arn,
            "Lambda-Runtime-Client-Context": request.client_context,
            "Lambda-Runtime-Trace-Id": request.trace_id,
        }
        self._answer(200, request.event, {k: v for k, v in headers.items() if v})

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        error_type = self.headers.get(_ERROR_TYPE, "")
        path = self.path.removeprefix(_ROOT)
        match = _RESULT.fullmatch(path)
        if path == "init/error":
            message = Message(kind="init error", body=body or b"", error_type=error_type)
        elif match is None:
            self._answer(404, _problem("ResourceNotFound", self.path))
            return
        elif match["request"] != self.server.api.current:
            self._answer(400, _problem("InvalidRequestID", "Invalid request ID"))
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
        if body is None:
            self._answer(413, _problem("RequestEntityTooLarge", "Exceeded maximum payload size"))
        else:
            self._answer(202, json.dumps({"status": "OK"}).encode())
        self.server.api.messages.put(message)

    def _body(self) -> bytes | None:
        """The request's body; None for one that is larger than an answer may be."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self.chunks_of(LARGEST_PAYLOAD)
        return self.body_of(int(self.headers.get("Content-Length") or 0), LARGEST_PAYLOAD)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _problem(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
