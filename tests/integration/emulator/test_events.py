"""Events of any shape, and clients of any manners: what is no event is refused, and all goes on."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerpack.cache import Cache
from layerpack.emulator.http_api import HttpFront
from layerpack.emulator.sandbox import Program
from tests.integration.emulator.conftest import program_in
from tests.integration.emulator.test_serve import WAIT, client, fetch, serving
from tests.support.command import Ended, layerpack
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

#: Lambda's quota for a synchronous invocation, in bytes.
LARGEST = 6_291_456
INVOCATIONS = "/2015-03-31/functions/small/invocations"
#: The beginning of a request.
POST = f"POST {INVOCATIONS} HTTP/1.1\r\nHost: localhost\r\n"

MALFORMED = [b"{", b"{} {}", b"\xff", b" ", b"[" * 100_000 + b"]" * 100_000]
MALFORMED_NAMES = ["open", "two values", "no utf-8", "blank", "nested 100,000 deep"]


def padded(size: int) -> bytes:
    """An event of so many bytes, of which none can be left out."""
    return b'{"a": 1' + b" " * (size - 8) + b"}"


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(depth - 1):
        found = [found]
    return found


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache, shared_index: LocalIndex
) -> Path:
    """A folder with a recipe that is built, whose function gives its event back."""
    folder = tmp_path_factory.mktemp("echo")
    shared_index.add(make_wheel(folder / "wheels", "alpha"))
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text("def handler(event, context):\n    return event\n")
    more = "function: {source: code, handler: app.handler}\n"
    minimal(folder, runtime=HERE, index=shared_index.url, more=more)
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=emulator_cache.root)
    assert ended.code == 0, ended.errors
    return folder


def invoke(built: Path, cache: Cache, event: bytes, *, by: str) -> Ended:
    """Invoke it with an event from a file or from standard input."""
    (built / "event.json").write_bytes(event)
    arguments = ("invoke", "build/small", "--event", "-" if by == "stdin" else "event.json")
    given = event if by == "stdin" else b""
    return layerpack(*arguments, folder=built, cache=cache.root, given=given)


@pytest.mark.parametrize("by", ["file", "stdin"])
def test_the_command_takes_6_mb_and_not_a_byte_more(
    built: Path, emulator_cache: Cache, by: str
) -> None:
    most = invoke(built, emulator_cache, padded(LARGEST), by=by)
    assert (most.code, json.loads(most.output)) == (0, {"a": 1})
    more = invoke(built, emulator_cache, padded(LARGEST + 1), by=by)
    assert (more.code, more.output) == (2, "")
    assert "has 6,291,457 bytes, and Lambda takes 6,291,456" in more.errors


@pytest.mark.parametrize("event", [*MALFORMED, b""], ids=[*MALFORMED_NAMES, "empty"])
def test_the_command_refuses_what_is_no_event(
    built: Path, emulator_cache: Cache, event: bytes
) -> None:
    ended = invoke(built, emulator_cache, event, by="stdin")
    assert (ended.code, ended.output) == (2, "")
    assert "the event - is not JSON: " in ended.errors
    assert "Traceback" not in ended.errors


@pytest.fixture(scope="module")
def echo(program_of_module: Program) -> Iterator[HttpFront]:
    """Serves a function that gives its event back, in one environment."""
    with serving(program_of_module, limit=1) as front:
        yield front


@pytest.fixture(scope="module")
def program_of_module(tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache) -> Program:
    """One function for the tests that leave it as it is."""
    handler = "def handler(event, context):\n    return event\n"
    return program_in(tmp_path_factory.mktemp("echo"), emulator_cache, handler)


def is_answered(front: HttpFront, event: Any) -> bool:
    """Whether an event comes back."""
    answer = client(front).invoke(FunctionName="small", Payload=json.dumps(event).encode())
    return "FunctionError" not in answer and json.load(answer["Payload"]) == event


@pytest.mark.parametrize("event", MALFORMED, ids=MALFORMED_NAMES)
def test_a_server_refuses_what_is_no_event_and_answers_the_next(
    echo: HttpFront, event: bytes
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client(echo).invoke(FunctionName="small", Payload=event)
    assert caught.value.response["Error"]["Code"] == "InvalidRequestContentException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert is_answered(echo, {"next": 1})


@pytest.mark.parametrize("event", [None, 0, "", "ü\0\ud800", [], nested(500), {"": {"": 1e300}}])
def test_any_value_is_an_event(echo: HttpFront, event: Any) -> None:
    assert is_answered(echo, event)


def test_nothing_is_an_empty_object(echo: HttpFront) -> None:
    answer = client(echo).invoke(FunctionName="small", Payload=b"")
    assert json.load(answer["Payload"]) == {}


def test_a_server_takes_6_mb_and_not_a_byte_more(echo: HttpFront) -> None:
    answer = client(echo).invoke(FunctionName="small", Payload=padded(LARGEST))
    assert json.load(answer["Payload"]) == {"a": 1}
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client(echo).invoke(FunctionName="small", Payload=padded(LARGEST + 1))
    assert caught.value.response["Error"]["Code"] == "RequestTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    response, _ = fetch(echo, "POST", "/", b"x" * (LARGEST + 1))
    assert response.status == 413
    assert is_answered(echo, {"next": 1})


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /2015-03",
        f"{POST}Content-Le".encode(),
        f'{POST}Content-Length: 100\r\n\r\n{{"a": '.encode(),
    ],
    ids=["request line", "headers", "body"],
)
def test_a_client_that_goes_away_in_the_middle_of_a_request_is_no_harm(
    echo: HttpFront, sent: bytes
) -> None:
    address = urlsplit(echo.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 60) as gone:
        gone.sendall(sent)
        # It says that no more comes, and is told or let go: the server has seen all of it.
        gone.shutdown(socket.SHUT_WR)
        while gone.recv(4096):
            pass
    assert is_answered(echo, {"next": 1})
    with socket.create_connection((address.hostname or "", address.port or 0), 60) as gone:
        gone.sendall(sent)
        # Closed so, it is a connection reset to the server (socket(7)).
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert is_answered(echo, {"next": 2})


def test_a_client_that_goes_away_while_it_waits_leaves_the_environment_to_the_next(
    program: Program,
) -> None:
    with serving(program, limit=1) as front, socket.create_server(("127.0.0.1", 0)) as gate:
        address = urlsplit(front.url)
        payload = json.dumps({"exec": WAIT.format(port=gate.getsockname()[1])}).encode()
        head = f"{POST}Content-Length: {len(payload)}\r\n\r\n".encode()
        with socket.create_connection((address.hostname or "", address.port or 0)) as gone:
            gone.sendall(head + payload)
            connection, _ = gate.accept()
        with connection:
            # The only one is busy, although nobody waits for it.
            response, _ = fetch(front, "POST", INVOCATIONS, b"{}")
            assert response.status == 429
            connection.sendall(b"x")
        end = time.monotonic() + 60
        while response.status == 429 and time.monotonic() < end:
            response, body = fetch(front, "POST", INVOCATIONS, b"{}")
        # The same one, which answered nobody.
        assert json.loads(body) == {"calls": 2, "event": {}}


@settings(max_examples=80, deadline=None, database=None)
@given(
    target=st.sampled_from([INVOCATIONS, INVOCATIONS.replace("small", "function"), "/a?b=c"])
    | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)).map("/".__add__),
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]),
    headers=st.dictionaries(
        st.sampled_from(
            ["X-Amz-Client-Context", "X-Amz-Invocation-Type", "X-Amz-Log-Type", "Cookie", "X"]
        ),
        st.sampled_from(["e30=", "Event", "DryRun", "Tail", "\xff"])
        | st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=9),
    ),
    body=st.sampled_from([b"{}", b'"\\ud800"', b"1e999"]) | st.binary(max_size=30),
)
def test_any_request_is_answered_or_refused(
    echo: HttpFront, target: str, method: str, headers: dict[str, str], body: bytes
) -> None:
    clean = {name: value.strip("\x7f \xa0\x85") for name, value in headers.items()}
    response, told = fetch(echo, method, target, body, **clean)
    assert response.status in (200, 202, 204, 400, 404, 405, 429, 500)
    if method != "HEAD" and response.status not in (202, 204):
        json.loads(told)
