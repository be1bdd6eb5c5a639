"""The function behind HTTP: Lambda's Invoke API, and API Gateway's HTTP APIs before it.

Paths, headers, status codes and error types are those of the "Invoke" page of AWS's "Lambda API
Reference".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from layerpack.emulator.environment import Invocation
from layerpack.emulator.http_event import HttpResponse, event_of, response_of
from layerpack.emulator.http_guard import foreign_reason
from layerpack.emulator.http_server import HttpRequest, HttpServer, Limits, listening, refusal
from layerpack.emulator.pool import Pool, TooManyError
from layerpack.errors import LayerpackError
from layerpack.limits import LambdaLimits, json_problem

_INVOKE = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")
# A name, a full or a partial ARN, each perhaps with the only version that there is.
_NAME = re.compile(r"(?:.*:function:|\d{12}:)?(?P<name>[A-Za-z0-9_-]+)(?::\$LATEST)?")
# AWS's Runtime Interface Emulator knows every function by this name.
_ANY_FUNCTION: Final = "function"
_HEAD_BYTES: Final = 1 << 16
_CONNECTIONS: Final = 256
_IDLE_SECONDS: Final = 75.0
_TRANSFER_SECONDS: Final = 60.0


class HttpFront:
    """Serves a pool's function, called `name`, at `host` and `port` (0: any that is free), to
    requests that name it so, or by a name in `allowed`; `report` gets a line on each request that
    fails for want of an environment.

    Raises OSError where it cannot listen there.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        host: str,
        port: int,
        *,
        report: Callable[[str], None],
        allowed: Collection[str] = (),
    ) -> None:
        listener = listening(host, port)
        self._address: tuple[str, int] = listener.getsockname()[:2]
        names = frozenset(one.lower() for one in allowed)
        function = _Function(pool=pool, name=name, host=host, allowed=names, report=report)
        limits = Limits(
            head_bytes=_HEAD_BYTES,
            body_bytes=LambdaLimits.load().event_bytes,
            connections=_CONNECTIONS + pool.limit,
            idle=_IDLE_SECONDS,
            transfer=_TRANSFER_SECONDS,
        )
        self._server = HttpServer(listener, function.answer, limits, report)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve(self) -> None:
        """Serve until `stop`, or an exception such as KeyboardInterrupt."""
        self._server.serve()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.stop()

    def close(self) -> None:
        """Listen no more."""
        self._server.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Function:
    """Requests as invocations of the function called `name`, by a server that listens at `host`,
    and has the names `allowed` too; `report` gets a line on each that fails without an answer."""

    pool: Pool
    name: str
    host: str
    allowed: frozenset[str]
    report: Callable[[str], None]

    def answer(self, request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        """Answer a request."""
        send(self._response(request))

    def _response(self, request: HttpRequest) -> HttpResponse:
        try:
            path = urlsplit(request.target).path
        except ValueError:
            return refusal(400)
        if reason := foreign_reason(request, self.host, self.allowed):
            return _failure(403, "AccessDeniedException", reason)
        match = _INVOKE.fullmatch(path)
        try:
            if match is None:
                return self._front(request)
            if request.method != "POST":
                text = "Invoke is a POST request."
                return _failure(405, "MethodNotAllowedException", text)
            return self._invoke(request, unquote(match["function"]))
        except (LayerpackError, OSError) as error:
            # No new environment can be had: what Lambda, too, would call its own trouble.
            reason = error.message if isinstance(error, LayerpackError) else str(error)
            self.report(f"no environment can be started: {reason}")
            return _failure(500, "ServiceException", reason, {"Type": "Service"})

    def _invoke(self, request: HttpRequest, function: str) -> HttpResponse:
        """Lambda's own API."""
        kind = request.header("x-amz-invocation-type", "RequestResponse")
        context = _client_context(request.header("x-amz-client-context"))
        refused = self._refused(request, function, kind)
        if refused is None and context is None:
            text = "Client context must be a valid Base64-encoded JSON object."
            refused = _failure(400, "InvalidRequestContentException", text)
        if refused is not None:
            return refused
        event = request.body or b"{}"
        if kind == "DryRun":
            return HttpResponse(status=204, headers=(), body=b"")
        if kind == "Event":
            self.pool.later(event, context or "")
            return HttpResponse(status=202, headers=(), body=b"")
        answer, log = self._answered(event, context or "")
        if answer is not None:
            return _invoke_response(answer, log, request.header("x-amz-log-type"))
        more = {"Reason": "ConcurrentInvocationLimitExceeded", "Type": "User"}
        return _failure(429, "TooManyRequestsException", "Rate Exceeded.", more)

    def _refused(self, request: HttpRequest, function: str, kind: str) -> HttpResponse | None:
        """What Lambda says of an invocation that it does not take; None if it does."""
        limits = LambdaLimits.load()
        largest = limits.asynchronous_event_bytes if kind == "Event" else limits.event_bytes
        match = _NAME.fullmatch(function)
        if match is None or match["name"] not in (self.name, _ANY_FUNCTION):
            arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
            return _failure(404, "ResourceNotFoundException", f"Function not found: {arn}")
        if kind not in ("RequestResponse", "Event", "DryRun"):
            text = f"Unknown invocation type {kind}"
            return _failure(400, "InvalidParameterValueException", text)
        if request.body is None or len(request.body) > largest:
            text = f"Request must be smaller than {largest // 2**20} MB"
            return _failure(413, "RequestTooLargeException", text)
        if problem := json_problem(request.body or b"{}"):
            text = f"Could not parse request body into json: {problem}"
            return _failure(400, "InvalidRequestContentException", text)
        return None

    def _front(self, request: HttpRequest) -> HttpResponse:
        """API Gateway's."""
        if request.body is None:
            return refusal(413)
        told = event_of(
            request.method, request.target, request.headers, request.body, request.client
        )
        event = json.dumps(told).encode()
        if len(event) > LambdaLimits.load().event_bytes:
            return refusal(413)
        answer, _ = self._answered(event)
        if answer is None:
            return refusal(429)
        if answer.error_type:
            return refusal(500)
        try:
            return response_of(answer.payload)
        except ValueError:
            return refusal(500)

    def _answered(self, event: bytes, client_context: str = "") -> tuple[Invocation | None, bytes]:
        """The answer and the log's end; None where all environments are busy."""
        try:
            with self.pool.environment() as environment:
                answer = environment.invoke(event, client_context)
                return answer, environment.log_tail
        except TooManyError:
            return None, b""


def _client_context(text: str) -> str | None:
    """JSON that a header can carry, from `text` in base64; empty if that is, None if it holds no
    JSON."""
    try:
        return json.dumps(json.loads(base64.b64decode(text, validate=True))) if text else ""
    except (ValueError, RecursionError):
        return None


def _failure(
    status: int, kind: str, message: str, more: dict[str, str] | None = None
) -> HttpResponse:
    body = json.dumps({"Type": "User", **(more or {}), "message": message, "Message": message})
    headers = (("x-amzn-ErrorType", kind), ("Content-Type", "application/json"))
    return HttpResponse(status=status, headers=headers, body=body.encode())


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
