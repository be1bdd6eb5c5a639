"""A function behind HTTP: for Lambda's clients, and for everybody else's."""

from __future__ import annotations

import base64
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import pytest

from layerpack.cache import Cache
from layerpack.emulation import open_front
from layerpack.emulator.environment import Environment
from layerpack.emulator.http_api import HttpFront
from layerpack.emulator.sandbox import Program
from tests.integration.emulator.conftest import Log, program_in, started
from tests.support.lambda_client import lambda_client

WAIT = """
import socket
with socket.create_connection(("127.0.0.1", {port})) as gate:
    gate.sendall(b"x")
    gate.recv(1)
answer = "done"
"""


@contextmanager
def serving(
    program: Program,
    limit: int = 2,
    host: str = "127.0.0.1",
    reports: list[str] | None = None,
    **settings: Any,
) -> Iterator[HttpFront]:
    """The function at a port of its own; `reports` get its errors (None: there must be none)."""
    lines: list[str] = [] if reports is None else reports

    def start() -> Environment:
        return started(program, Log(), **settings)

    with open_front(
        start, program.name, host=host, port=0, limit=limit, report=lines.append
    ) as front:
        thread = threading.Thread(target=front.serve)
        thread.start()
        try:
            yield front
        finally:
            front.stop()
            thread.join()
    assert reports is not None or not lines


@pytest.fixture
def front(program: Program) -> Iterator[HttpFront]:
    """A front with two environments at most."""
    with serving(program) as served:
        yield served


def client(front: HttpFront) -> Any:
    """boto3's client for Lambda, for the front."""
    return lambda_client(front.url)


def fetch(
    front: HttpFront, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[HTTPResponse, bytes]:
    """One request, and its response."""
    connection = HTTPConnection(urlsplit(front.url).netloc, timeout=60)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_boto3_invokes_it(front: HttpFront) -> None:
    lambda_ = client(front)
    answer = lambda_.invoke(FunctionName="small", Payload=b'{"a": 1}', LogType="Tail")
    assert json.load(answer["Payload"]) == {"calls": 1, "event": {"a": 1}}
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert b"REPORT RequestId" in base64.b64decode(answer["LogResult"])
    arn = "arn:aws:lambda:us-east-1:000000000000:function:small"
    failed = lambda_.invoke(FunctionName=arn, Payload=json.dumps({"exec": "1 / 0"}).encode())
    assert failed["StatusCode"] == 200 and failed["FunctionError"] == "Unhandled"
    assert json.load(failed["Payload"])["errorType"] == "ZeroDivisionError"
    context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
    code = "answer = context.client_context.custom"
    asked = lambda_.invoke(
        FunctionName="small", ClientContext=context, Payload=json.dumps({"exec": code}).encode()
    )
    assert json.load(asked["Payload"]) == {"k": "v"}
    # The name by which AWS's emulator has every function.
    by_any_name = lambda_.invoke(FunctionName="function", Payload=b"{}")
    assert by_any_name["StatusCode"] == 200
    dry = lambda_.invoke(FunctionName="small", InvocationType="DryRun")
    assert dry["StatusCode"] == 204


@pytest.mark.parametrize(
    ("function", "payload", "error"),
    [
        ("other", b"{}", "ResourceNotFoundException"),
        ("small", b"{", "InvalidRequestContentException"),
        ("small", b'"' + b"x" * (6 * 2**20) + b'"', "RequestTooLargeException"),
    ],
)
def test_what_lambda_refuses_is_refused(
    front: HttpFront, function: str, payload: bytes, error: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client(front).invoke(FunctionName=function, Payload=payload)
    assert caught.value.response["Error"]["Code"] == error
    # An event of just below 6 MB is taken.
    event = b'{"x": "' + b"x" * (6 * 2**20 - 200) + b'"}'
    taken = client(front).invoke(FunctionName="small", Payload=event)
    assert taken["StatusCode"] == 200


def test_any_other_path_is_an_event_of_api_gateways(front: HttpFront) -> None:
    response, body = fetch(
        front, "POST", "/a%20b?x=1&x=2&y=", b"text", Cookie="c=1; d=2", **{"X-Own": "z"}
    )
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    event = json.loads(body)["event"]
    assert (event["version"], event["rawPath"], event["rawQueryString"]) == (
        *("2.0", "/a b", "x=1&x=2&y="),
    )
    assert event["queryStringParameters"] == {"x": "1,2", "y": ""}
    assert event["cookies"] == ["c=1", "d=2"]
    assert event["headers"]["x-own"] == "z"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert (event["body"], event["isBase64Encoded"]) == ("text", False)
    _, body = fetch(front, "PUT", "/", b"\xff\x00", **{"Content-Type": "image/png"})
    event = json.loads(body)["event"]
    assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (b"\xff\x00", True)


@pytest.mark.parametrize(
    ("answer", "status", "body", "headers"),
    [
        (
            {"statusCode": 201, "body": "made", "headers": {"x-own": "1"}},
            201,
            b"made",
            {"x-own": "1"},
        ),
        ({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}, 200, b"\xff\x00", {}),
        ({"statusCode": 200, "cookies": ["a=1", "b=2"]}, 200, b"", {"set-cookie": "a=1"}),
        ({"plain": 1}, 200, b'{"plain": 1}', {"content-type": "application/json"}),
        ({"statusCode": "no"}, 500, b'{"message": "Internal Server Error"}', {}),
        ({"statusCode": 200, "headers": {"x": "a\r\nb"}}, 500, None, {}),
    ],
)
def test_an_answer_becomes_a_response(
    program: Program, answer: Any, status: int, body: bytes | None, headers: dict[str, str]
) -> None:
    (program.task / "app.py").write_text(f"def handler(event, context): return {answer!r}\n")
    with serving(program) as front:
        response, content = fetch(front, "GET", "/")
    assert response.status == status
    assert body is None or content == body
    for name, value in headers.items():
        assert response.headers[name] == value


def test_requests_at_the_same_time_get_environments_up_to_the_limit(front: HttpFront) -> None:
    results: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as gate:
        code = WAIT.format(port=gate.getsockname()[1])
        payload = json.dumps({"exec": code}).encode()

        def call() -> None:
            results.append(client(front).invoke(FunctionName="small", Payload=payload))

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        inside = [gate.accept()[0] for _ in range(2)]
        # Both are in the handler, and there is no third.
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            client(front).invoke(FunctionName="small", Payload=b"{}")
        assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"
        for connection in inside:
            connection.sendall(b"x")
            connection.close()
        for thread in threads:
            thread.join()
    assert [json.load(result["Payload"]) for result in results] == ["done"] * 2


def test_a_crash_in_one_leaves_the_others_alone(front: HttpFront) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gate:
        code = WAIT.format(port=gate.getsockname()[1])
        answers: list[Any] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                client(front).invoke(
                    FunctionName="small", Payload=json.dumps({"exec": code}).encode()
                )
            )
        )
        waiting.start()
        connection, _ = gate.accept()
        crash = json.dumps({"exec": "import os; os._exit(1)"}).encode()
        crashed = client(front).invoke(FunctionName="small", Payload=crash)
        assert crashed["FunctionError"] == "Unhandled"
        assert json.load(crashed["Payload"])["errorType"] == "Runtime.ExitError"
        after = client(front).invoke(FunctionName="small", Payload=b"{}")
        assert json.load(after["Payload"])["calls"] == 1
        connection.sendall(b"x")
        connection.close()
        waiting.join()
    assert json.load(answers[0]["Payload"]) == "done"
    response, body = fetch(front, "GET", "/")
    assert response.status == 200, body


def test_a_client_that_goes_away_is_no_harm(front: HttpFront) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gate:
        code = WAIT.format(port=gate.getsockname()[1])
        payload = json.dumps({"exec": code}).encode()
        address = urlsplit(front.url)
        with socket.create_connection((address.hostname or "", address.port or 0)) as gone:
            gone.sendall(
                b"POST /2015-03-31/functions/small/invocations HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(payload), payload)
            )
            connection, _ = gate.accept()
        connection.sendall(b"x")
        connection.close()
    answer = client(front).invoke(FunctionName="small", Payload=b"{}")
    assert answer["StatusCode"] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # A page whose name leads here, and pages that send simple requests.
        ({"Host": "attacker.example"}, 403),
        ({"Host": "attacker.example:9000"}, 403),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:9000", "Origin": "http://localhost:3000"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_do_not_invoke_the_function(
    program_of_pages: HttpFront, headers: dict[str, str], status: int
) -> None:
    for path in ("/2015-03-31/functions/small/invocations", "/front"):
        response, body = fetch(program_of_pages, "POST", path, b"{}", **headers)
        assert response.status == status
        assert status == 200 or response.headers["x-amzn-ErrorType"] == "AccessDeniedException"
        assert (b"calls" in body) == (status == 200)


@pytest.fixture(scope="module")
def program_of_pages(
    tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache
) -> Iterator[HttpFront]:
    """A front for tests that leave its function as it is."""
    with serving(program_in(tmp_path_factory.mktemp("pages"), emulator_cache)) as served:
        yield served


def test_the_name_to_listen_at_may_be_an_address_of_ipv6(program: Program) -> None:
    with serving(program, host="::1") as front:
        assert front.url.startswith("http://[::1]:")
        assert fetch(front, "GET", "/")[0].status == 200


@pytest.mark.parametrize("path", ["/", "/2015-03-31/functions/small/invocations"])
def test_a_sandbox_that_cannot_start_is_lambdas_own_trouble(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    # The next event needs another sandbox.
    (program.task / "app.py").write_text("import os\ndef handler(e, c): os._exit(1)\n")
    reports: list[str] = []
    with serving(program, limit=1, reports=reports) as front:
        assert fetch(front, "POST", path, b"{}")[0].status in (200, 500)
        assert not reports
        with monkeypatch.context() as patch:
            # As where no disk is left.
            patch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
            response, body = fetch(front, "POST", path, b"{}")
        assert response.status == 500
        assert response.headers["x-amzn-ErrorType"] == "ServiceException"
        assert "absent" in json.loads(body)["message"]
        (report,) = reports
        assert report.startswith("no environment can be started: ") and "absent" in report
        assert fetch(front, "POST", path, b"{}")[0].status in (200, 500)
        assert len(reports) == 1
