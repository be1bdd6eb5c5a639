"""HTTP requests as events of payload format 2.0, and answers as responses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from layerpack.emulator.http_event import HttpResponse, event_of, response_of


def event(
    target: str = "/", *headers: tuple[str, str], method: str = "GET", body: bytes = b""
) -> dict[str, Any]:
    """The event for a request from 192.0.2.1."""
    return event_of(method, target, headers, body, "192.0.2.1")


def response(answer: Any) -> HttpResponse:
    """The response for a handler's answer."""
    return response_of(json.dumps(answer).encode())


def test_an_event_has_all_that_the_format_names() -> None:
    headers = (("Host", "api.example"), ("User-Agent", "curl/8"))
    found = event("/a/b?x=1", *headers, method="PATCH")
    context = found["requestContext"]
    # Those that come and go with the request's own: cookies, queryStringParameters, body.
    assert sorted(found) == [
        *("headers", "isBase64Encoded", "queryStringParameters", "rawPath", "rawQueryString"),
        *("requestContext", "routeKey", "version"),
    ]
    assert (found["version"], found["routeKey"]) == ("2.0", "$default")
    assert context["http"] == {
        "method": "PATCH",
        "path": "/a/b",
        "protocol": "HTTP/1.1",
        "sourceIp": "192.0.2.1",
        "userAgent": "curl/8",
    }
    assert (context["stage"], context["domainName"]) == ("$default", "api.example")
    assert context["requestId"] != event()["requestContext"]["requestId"]


@pytest.mark.parametrize(
    ("target", "raw", "parameters"),
    [
        ("/", "", None),
        ("/?", "", None),
        ("/?x=1&x=2&y=3&x=4", "x=1&x=2&y=3&x=4", {"x": "1,2,4", "y": "3"}),
        ("/?x=&y", "x=&y", {"x": "", "y": ""}),
        ("/?x=a%26b%3D%C3%BC+c", "x=a%26b%3D%C3%BC+c", {"x": "a&b=ü c"}),
        # A semicolon separates nothing.
        ("/?x=1;y=2", "x=1;y=2", {"x": "1;y=2"}),
    ],
)
def test_a_query_comes_raw_and_by_name(
    target: str, raw: str, parameters: dict[str, str] | None
) -> None:
    found = event(target)
    assert found["rawQueryString"] == raw
    assert found.get("queryStringParameters") == parameters


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a%20b/%C3%BC", "/a b/ü"),
        ("/a%2Fb", "/a/b"),
        ("/100%2525?x=%25", "/100%25"),
        # Only in a query does it stand for a space.
        ("/a+b", "/a+b"),
    ],
)
def test_a_path_is_decoded_once(target: str, path: str) -> None:
    found = event(target)
    assert (found["rawPath"], found["requestContext"]["http"]["path"]) == (path, path)


def test_repeated_headers_are_joined_below_one_name_in_lower_case() -> None:
    found = event("/", ("Accept", "text/html"), ("X-Own", "a"), ("accept", "a/b, c/d"))
    assert found["headers"] == {"accept": "text/html,a/b, c/d", "x-own": "a"}


def test_cookies_are_a_list_and_no_header() -> None:
    found = event("/", ("Cookie", "a=1; b=x=y"), ("X-Own", "z"), ("cookie", "c=3;"))
    assert found["cookies"] == ["a=1", "b=x=y", "c=3"]
    assert found["headers"] == {"x-own": "z"}
    assert "cookies" not in event("/", ("X-Own", "z"))


@pytest.mark.parametrize(
    ("kind", "body", "is_text"),
    [
        ("text/plain; charset=utf-8", "Zürich €".encode(), True),
        ("application/json", b'{"a": 1}', True),
        ("application/problem+json", b"{}", True),
        ("image/svg+xml", b"<svg/>", True),
        # As curl's --data says without a type, and as nobody says.
        ("", b"a", True),
        ("application/x-www-form-urlencoded", b"a=1&b=2", False),
        ("image/png", b"text all the same", False),
        ("application/octet-stream", b"\x00\xff", False),
        # It says that it is text, and is none.
        ("text/plain", b"Z\xfcrich", False),
        ("", bytes(range(256)), False),
    ],
)
def test_a_body_is_text_or_base64(kind: str, body: bytes, is_text: bool) -> None:
    headers = (("Content-Type", kind),) if kind else ()
    found = event("/", *headers, method="POST", body=body)
    assert found["isBase64Encoded"] is not is_text
    content = found["body"]
    assert (content.encode() if is_text else base64.b64decode(content)) == body


def test_without_a_body_there_is_none() -> None:
    found = event("/", ("Content-Type", "image/png"), method="POST")
    assert "body" not in found
    assert found["isBase64Encoded"] is False


JSON_TYPE = (("content-type", "application/json"),)
TEXT_TYPE = ("content-type", "text/plain;charset=UTF-8")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ({"a": [1, "ü"]}, {"a": [1, "ü"]}),
        ([1, 2], [1, 2]),
        (7, 7),
        (None, None),
        # No description of a response, whatever else it looks like.
        ({"body": "x", "headers": {"x": "y"}}, {"body": "x", "headers": {"x": "y"}}),
    ],
)
def test_a_plain_value_is_the_body(answer: Any, body: Any) -> None:
    found = response(answer)
    assert (found.status, found.headers) == (200, JSON_TYPE)
    assert json.loads(found.body) == body


def test_a_string_is_the_body_without_its_quotes() -> None:
    assert response("hé\n") == HttpResponse(status=200, headers=JSON_TYPE, body="hé\n".encode())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"statusCode": 204}, (204, (TEXT_TYPE,), b"")),
        ({"statusCode": "404", "body": "no ü"}, (404, (TEXT_TYPE,), "no ü".encode())),
        ({"statusCode": 200, "body": None, "headers": None}, (200, (TEXT_TYPE,), b"")),
        (
            {"statusCode": 200, "headers": {"Content-Type": "text/css", "X-Size": 3}, "body": "a"},
            (200, (("Content-Type", "text/css"), ("X-Size", "3")), b"a"),
        ),
        (
            {"statusCode": 302, "headers": {"location": "/"}, "cookies": ["a=1; Secure", "b=2"]},
            (
                302,
                (
                    ("location", "/"),
                    ("set-cookie", "a=1; Secure"),
                    ("set-cookie", "b=2"),
                    TEXT_TYPE,
                ),
                b"",
            ),
        ),
        (
            {"statusCode": 200, "body": "/wCA", "isBase64Encoded": True},
            (200, (TEXT_TYPE,), b"\xff\x00\x80"),
        ),
        # Only where it says so.
        ({"statusCode": 200, "body": "/wCA"}, (200, (TEXT_TYPE,), b"/wCA")),
    ],
)
def test_a_description_becomes_the_response(
    answer: Any, expected: tuple[int, tuple[tuple[str, str], ...], bytes]
) -> None:
    status, headers, body = expected
    assert response(answer) == HttpResponse(status=status, headers=headers, body=body)


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": 99},
        {"statusCode": 199},
        {"statusCode": 600},
        {"statusCode": -200},
        {"statusCode": "OK"},
        {"statusCode": None},
        {"statusCode": [200]},
        {"statusCode": float("inf")},
        {"statusCode": 200, "headers": ["x: y"]},
        {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "headers": {"x": "€"}},
        {"statusCode": 200, "cookies": ["a=1\r\nx: y"]},
        {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "headers": {"x": "a\nb"}},
        {"statusCode": 200, "headers": {"x\r": "a"}},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": 7},
        {"statusCode": 200, "body": "no base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": "YQ", "isBase64Encoded": True},
        # Half of a pair: no text that could be sent.
        {"statusCode": 200, "body": "\ud800"},
    ],
)
def test_what_api_gateway_would_not_take_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError):
        response(answer)
