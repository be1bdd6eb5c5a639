"""The edge of the function: an API Gateway HTTP API event (payload 2.0) in, an answer out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping


class RequestError(Exception):
    """The caller's mistake. Its message becomes the ``error`` of a 400 answer."""


def body_of(event: object) -> dict[str, object]:
    """Give the JSON object in an event's body.

    Takes the event as Lambda hands it over; API Gateway encodes a body as base64 when the
    request's content type is not text, and says so in ``isBase64Encoded``. Raises RequestError
    for everything that is not a JSON object in UTF-8.
    """
    body = event.get("body") if isinstance(event, Mapping) else None
    if not isinstance(event, Mapping) or not isinstance(body, str):
        raise RequestError("the request has no body: send a JSON object")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True).decode("utf-8")
        except ValueError as error:
            raise RequestError("the body is marked as base64 of UTF-8 text, and is not") from error
    try:
        value = json.loads(body)
    # Deep nesting overflows the parser's stack before it is seen to be wrong.
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not valid JSON") from error
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object")
    return value


def answer(status: int, body: Mapping[str, object]) -> dict[str, object]:
    """Give the answer that API Gateway turns into an HTTP response with a JSON body."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body, ensure_ascii=False, separators=(",", ":")),
        "isBase64Encoded": False,
    }
