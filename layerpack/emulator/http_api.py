"""The function behind HTTP: Lambda's Invoke API, and API Gateway's HTTP APIs before it.

Paths, headers, status codes and error types are those of the "Invoke" page of AWS's "Lambda API
Reference".
"""

from __future__ import annotations

import base64
import json
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from layerpack.emulator.environment import Invocation
from layerpack.emulator.http_event import HttpResponse, event_of, json_problem, response_of
from layerpack.emulator.http_server import Handler, Server
from layerpack.emulator.pool import Pool, TooManyError
from layerpack.errors import LayerpackError

#: Lambda's quotas for events, in bytes: synchronous and asynchronous ones.
LARGEST_EVENT: Final = 6 * 2**20
_LARGEST_ASYNC: Final = 2**20
_INVOKE = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")
# A name, a full or a partial ARN, each perhaps with the only version that there is.
_NAME = re.compile(r"(?:.*:function:|\d{12}:)?(?P<name>[A-Za-z0-9_-]+)(?::\$LATEST)?")


class HttpFront:
    """Serves a pool's function, called `name`, at `host` and `port` (0: any that is free).

    Raises OSError where it cannot listen there.
    """

    def __init__(self, pool: Pool, name: str, host: str, port: int) -> None:
        self._server = _Server((host, port), _Handler)
        self._server.pool = pool
        self._server.function = name

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def serve(self) -> None:
        """Serve until `stop`, or an exception such as KeyboardInterrupt."""
        self._server.serve_forever()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()


class _Server(Server):
    pool: Pool
    function: str


class _Handler(Handler):
    server: _Server

    def _handle(self) -> None:
        try:
            match = _INVOKE.fullmatch(urlsplit(self.path).path)
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = self.chunks_of(LARGEST_EVENT)
            else:
                size = _size_of(self.headers.get("Content-Length") or "0")
                body = self.body_of(size, LARGEST_EVENT)
        except ValueError:
            self.close_connection = True
            self._message(400, "Bad Request")
            return
        try:
            if match is None:
                self._front(body)
            elif self.command != "POST":
                self._fail(405, "MethodNotAllowedException", "Invoke is a POST request.")
            else:
                self._invoke(unquote(match["function"]), body)
        except LayerpackError as error:
            # No new environment can be had: what Lambda, too, would call its own trouble.
            self._fail(500, "ServiceException", error.message, {"Type": "Service"})

    # The names that http.server looks for.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle  # noqa: N815

    def _invoke(self, function: str, body: bytes | None) -> None:
        """Lambda's own API."""
        kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        match = _NAME.fullmatch(function)
        if match is None or match["name"] != self.server.function:
            arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
            self._fail(404, "ResourceNotFoundException", f"Function not found: {arn}")
        elif kind not in ("RequestResponse", "Event", "DryRun"):
            self._fail(400, "InvalidParameterValueException", f"Unknown invocation type {kind}")
        elif body is None or (kind == "Event" and len(body) > _LARGEST_ASYNC):
            largest = (_LARGEST_ASYNC if kind == "Event" else LARGEST_EVENT) // 2**20
            text = f"Request must be smaller than {largest} MB"
            self._fail(413, "RequestTooLargeException", text)
        elif problem := json_problem(body or b"{}"):
            text = f"Could not parse request body into json: {problem}"
            self._fail(400, "InvalidRequestContentException", text)
        elif (context := self._client_context()) is None:
            text = "Client context must be a valid Base64-encoded JSON object."
            self._fail(400, "InvalidRequestContentException", text)
        elif kind == "DryRun":
            self._send(HttpResponse(status=204, headers=(), body=b""))
        elif kind == "Event":
            self.server.pool.later(body or b"{}", context)
            self._send(HttpResponse(status=202, headers=(), body=b""))
        else:
            answer, log = self._answered(body or b"{}", context)
            if answer is not None:
                self._send(_invoke_response(answer, log, self.headers.get("X-Amz-Log-Type", "")))
            else:
                self._fail(
                    429,
                    "TooManyRequestsException",
                    "Rate Exceeded.",
                    {"Reason": "ConcurrentInvocationLimitExceeded", "Type": "User"},
                )

    def _front(self, body: bytes | None) -> None:
        """API Gateway's."""
        if body is None:
            self._message(413, "Request Entity Too Large")
            return
        event = json.dumps(
            event_of(self.command, self.path, self.headers.items(), body, self.client_address[0])
        ).encode()
        if len(event) > LARGEST_EVENT:
            self._message(413, "Request Entity Too Large")
            return
        answer, _ = self._answered(event)
        if answer is None:
            self._message(429, "Too Many Requests")
        elif answer.error_type:
            self._message(500, "Internal Server Error")
        else:
            try:
                self._send(response_of(answer.payload))
            except ValueError:
                self._message(500, "Internal Server Error")

    def _answered(self, event: bytes, client_context: str = "") -> tuple[Invocation | None, bytes]:
        """The answer and the log's end; None where all environments are busy."""
        try:
            with self.server.pool.environment() as environment:
                answer = environment.invoke(event, client_context)
                return answer, environment.log_tail
        except TooManyError:
            return None, b""

    def _client_context(self) -> str | None:
        """JSON that a header can carry, which comes in base64; empty where there is none, and None
        for what is no JSON."""
        text = self.headers.get("X-Amz-Client-Context", "")
        try:
            return json.dumps(json.loads(base64.b64decode(text, validate=True))) if text else ""
        except (ValueError, RecursionError):
            return None

    def _fail(
        self, status: int, kind: str, message: str, more: dict[str, str] | None = None
    ) -> None:
        body = json.dumps({"Type": "User", **(more or {}), "message": message, "Message": message})
        headers = (("x-amzn-ErrorType", kind), ("Content-Type", "application/json"))
        self._send(HttpResponse(status=status, headers=headers, body=body.encode()))

    def _message(self, status: int, message: str) -> None:
        body = json.dumps({"message": message}).encode()
        headers = (("content-type", "application/json"),)
        self._send(HttpResponse(status=status, headers=headers, body=body))

    def _send(self, response: HttpResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        # These have no body ("HTTP Semantics", RFC 9110, 15.3.5 and 15.4.5).
        bare = response.status in (204, 304)
        if not bare:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD" and not bare:
            self.wfile.write(response.body)

    def handle_expect_100(self) -> bool:
        """Answered at once: the client waits for it with the body."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on


def _invoke_response(answer: Invocation, log: bytes, wish: str) -> HttpResponse:
    headers = [
        ("Content-Type", "application/json"),
        ("X-Amz-Executed-Version", "$LATEST"),
        ("x-amzn-RequestId", answer.request),
    ]
    if answer.error_type:
        headers.append(("X-Amz-Function-Error", "Unhandled"))
    if wish == "Tail":
        headers.append(("X-Amz-Log-Result", base64.b64encode(log).decode()))
    return HttpResponse(status=200, headers=tuple(headers), body=answer.payload)


def _size_of(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)
