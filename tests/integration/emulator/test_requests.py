"""Requests that are not whole or not HTTP, and answers that cannot be sent."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import pytest

from layerpack.emulator.http_event import response_of
from layerpack.emulator.sandbox import Program
from tests.integration.emulator.test_events import INVOCATIONS, POST
from tests.integration.emulator.test_serve import client, fetch, serving


@pytest.mark.parametrize("event", [b"NaN", b'{"a": NaN}', b"-Infinity"])
def test_nan_is_refused(program: Program, event: bytes) -> None:
    with serving(program, limit=1) as front:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            client(front).invoke(FunctionName="small", Payload=event)
        assert caught.value.response["Error"]["Code"] == "InvalidRequestContentException"


@pytest.mark.parametrize("post", [POST, "POST /front HTTP/1.1\r\nHost: localhost\r\n"])
def test_half_a_request_is_no_event(program: Program, post: str) -> None:
    with serving(program, limit=1) as front:
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 60) as gone:
            gone.sendall(f'{post}Content-Length: 100\r\n\r\n{{"half": 1}}'.encode())
            gone.shutdown(socket.SHUT_WR)
            while gone.recv(4096):
                pass
        answer = client(front).invoke(FunctionName="small", Payload=b"{}")
        assert json.load(answer["Payload"])["calls"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        "{'statusCode': float('inf')}",
        "{'statusCode': 200, 'headers': {'x': '\u20ac'}}",
        "{'statusCode': 200, 'cookies': ['a=1\\r\\nx-evil: y']}",
    ],
)
def test_bad_answers_are_one_500(program: Program, answer: str) -> None:
    (program.task / "app.py").write_text(f"def handler(event, context): return {answer}\n")
    with serving(program, limit=1) as front:
        response, body = fetch(front, "GET", "/")
    assert response.status == 500
    assert json.loads(body) == {"message": "Internal Server Error"}
    assert response.headers["x-evil"] is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_leaves_the_connection_in_order(
    program: Program, status: int
) -> None:
    (program.task / "app.py").write_text(
        f"def handler(event, context): return {{'statusCode': {status}, 'body': 'xyz'}}\n"
    )
    with serving(program, limit=1) as front:
        connection = HTTPConnection(urlsplit(front.url).netloc, timeout=20)
        for _ in range(2):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert (response.status, response.read()) == (status, b"")
        connection.close()


@pytest.mark.parametrize("size", ["-1", "abc"])
def test_a_bad_content_length_is_a_400(program: Program, size: str) -> None:
    with serving(program, limit=1) as front:
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 5) as one:
            one.sendall(
                f"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
            )
            assert one.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_bad_target_is_a_400(program: Program) -> None:
    with serving(program, limit=1) as front:
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 5) as one:
            one.sendall(b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_body_whose_event_is_over_6_mb_is_a_413(program: Program) -> None:
    (program.task / "app.py").write_text("def handler(event, context): return len(event['body'])\n")
    with serving(program, limit=1) as front:
        response, _ = fetch(front, "POST", "/", b"\xff" * (5 * 2**20))
    assert response.status == 413


@pytest.mark.parametrize(
    "answer", [{"statusCode": None}, {"statusCode": [1]}, {"statusCode": 200, "headers": ["a"]}]
)
def test_what_is_refused_is_a_value_error(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        response_of(json.dumps(answer).encode())


def test_true_is_true() -> None:
    answer = {"statusCode": 200, "headers": {"x": True, "content-type": "a"}}
    assert response_of(json.dumps(answer).encode()).headers[0] == ("x", "true")


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b'5\r\n{"a":\r\n3;x=y\r\n 1}\r\n0\r\nTrailer: t\r\n\r\n', b"200"),
        (b'-5\r\n{"a":\r\n0\r\n\r\n', b"400"),
        (b"what\r\n", b"400"),
    ],
)
def test_a_body_may_come_in_chunks(program: Program, chunks: bytes, status: bytes) -> None:
    with serving(program, limit=1) as front:
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 30) as one:
            head = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
            one.sendall(head.encode() + chunks)
            answer = one.recv(65536)
    assert answer.startswith(b"HTTP/1.1 " + status)
    if status == b"200":
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["event"] == {"a": 1}


def test_half_of_a_body_in_chunks_is_no_event(program: Program) -> None:
    with serving(program, limit=1) as front:
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 30) as gone:
            head = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
            gone.sendall(head.encode() + b'8\r\n{"a": 1}\r\n')
            gone.shutdown(socket.SHUT_WR)
            while gone.recv(4096):
                pass
        answer = client(front).invoke(FunctionName="small", Payload=b"{}")
        assert json.load(answer["Payload"])["calls"] == 1


def test_an_environment_that_cannot_begin_anew_is_the_services_trouble(
    program: Program, tmp_path: Path
) -> None:
    python = tmp_path / program.interpreter.name
    python.symlink_to(program.interpreter)
    reports: list[str] = []
    with serving(replace(program, interpreter=python), limit=1, reports=reports) as front:
        python.unlink()
        event = json.dumps({"exec": "import os; os._exit(1)"})
        client(front).invoke(FunctionName="small", Payload=event)
        response, body = fetch(front, "POST", INVOCATIONS, b"{}")
        assert response.status == 500
        assert response.headers["x-amzn-ErrorType"] == "ServiceException"
        assert "cannot be started: No such file or directory" in json.loads(body)["message"]
        # It is no news for those who ask later: there may be one by then.
        python.symlink_to(program.interpreter)
        assert json.load(client(front).invoke(FunctionName="small")["Payload"])["calls"] == 1
    assert len(reports) == 1 and "cannot be started: No such file or directory" in reports[0]
