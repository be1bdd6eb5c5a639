"""HTTP requests as events of API Gateway's HTTP APIs, and answers as responses.

Payload format 2.0: "Create AWS Lambda proxy integrations for HTTP APIs".
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

_STAGE: Final = "$default"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TEXT: Final = ("text/", "application/json", "application/xml", "application/javascript")


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """What is sent back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def event_of(
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    source: str,
) -> dict[str, Any]:
    """The event for a request; `target` is its path with its query, `source` the client's IP."""
    parts = urlsplit(target)
    joined: dict[str, list[str]] = {}
    cookies: list[str] = []
    for name, value in headers:
        if name.lower() == "cookie":
            cookies += [one.strip() for one in value.split(";") if one.strip()]
        else:
            joined.setdefault(name.lower(), []).append(value)
    plain = {name: ",".join(values) for name, values in joined.items()}
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": _STAGE,
        "rawPath": unquote(parts.path),
        "rawQueryString": parts.query,
        "headers": plain,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": plain.get("host", "localhost"),
            "domainPrefix": "local",
            "http": {
                "method": method,
                "path": unquote(parts.path),
                "protocol": "HTTP/1.1",
                "sourceIp": source,
                "userAgent": plain.get("user-agent", ""),
            },
            "requestId": uuid.uuid4().hex[:15] + "=",
            "routeKey": _STAGE,
            "stage": _STAGE,
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = {name: ",".join(values) for name, values in query.items()}
    if body:
        event |= _body(body, plain.get("content-type", ""))
    return event


def response_of(payload: bytes) -> HttpResponse:
    """The response for a handler's answer (JSON): a description of one if it has a `statusCode`,
    else a JSON body. Raises ValueError for a description that API Gateway would not take."""
    try:
        return _response(payload)
    except (TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _response(payload: bytes) -> HttpResponse:
    answer = json.loads(payload)
    if not isinstance(answer, dict) or "statusCode" not in answer:
        body = answer.encode() if isinstance(answer, str) else payload
        kind = ("content-type", "application/json")
        return HttpResponse(status=200, headers=(kind,), body=body)
    status = int(answer["statusCode"])
    if not 200 <= status <= 599:
        raise ValueError(f"statusCode {status}")
    given = answer.get("headers") or {}
    headers = [(str(name), _header_text(value)) for name, value in given.items()]
    cookies = answer.get("cookies") or []
    if not isinstance(cookies, list):
        raise ValueError("cookies are no list")
    headers += [("set-cookie", str(cookie)) for cookie in cookies]
    for name, value in headers:
        # RFC 9110, 5.1 and 5.5; what is beyond Latin-1 cannot be sent.
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} cannot be sent")
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/plain;charset=UTF-8"))
    text = answer.get("body") or ""
    if not isinstance(text, str):
        raise ValueError("body is no text")
    body = base64.b64decode(text, validate=True) if answer.get("isBase64Encoded") else text.encode()
    return HttpResponse(status=status, headers=tuple(headers), body=body)


def _header_text(value: Any) -> str:
    """A header's value as API Gateway sends it: text, or a number or truth value as in JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError(f"a header's value is {type(value).__name__}")


def _body(body: bytes, kind: str) -> dict[str, Any]:
    """Text as it is; all else in base64."""
    if not kind or kind.startswith(_TEXT) or "+json" in kind or "+xml" in kind:
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
