"""The emulator's HTTP: requests of any bytes, clients of any manners, and limits that hold."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerpack.emulator.http_event import HttpResponse, response_of
from layerpack.emulator.http_server import HttpRequest, HttpServer, Limits, listening
from layerpack.emulator.runtime_api import LARGEST_PAYLOAD, Request, RuntimeApi

LIMITS = Limits(head_bytes=4096, body_bytes=100_000, connections=50, idle=20.0, transfer=20.0)
#: What it answers instead at /given.
GIVEN: list[HttpResponse] = []
FUZZ = settings(max_examples=150, deadline=None, database=None)


def echo(request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
    """Answer with what came."""
    if request.target == "/given":
        send(GIVEN[0])
        return
    if request.body is None:
        send(HttpResponse(status=413, headers=(), body=b"too large"))
        return
    told = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
    }
    send(HttpResponse(status=200, headers=(("X-Own", " y "),), body=json.dumps(told).encode()))


@contextmanager
def serving(limits: Limits = LIMITS, answer: Any = echo) -> Iterator[tuple[str, int]]:
    """The address of a server. No answer of it may be an exception."""
    problems: list[Any] = []
    before, threading.excepthook = threading.excepthook, problems.append
    server = HttpServer(listening("127.0.0.1", 0), answer, limits, problems.append)
    thread = threading.Thread(target=server.serve)
    address = server._listener.getsockname()
    thread.start()
    try:
        yield address
    finally:
        server.close()
        thread.join()
        threading.excepthook = before
    assert not problems


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """A server for tests that need no limits of their own."""
    with serving() as served:
        yield served


def talk(address: tuple[str, int], *pieces: bytes) -> bytes:
    """All that a server answers to some bytes, after which nothing more comes."""
    with socket.create_connection(address, 20) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            # It has heard enough.
            pass
        return rest_of(client)


def rest_of(client: socket.socket) -> bytes:
    """What still comes on a connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def body_of(answer: bytes) -> Any:
    """The JSON of a response."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def request(method: str = "POST", body: bytes = b"", *headers: str, target: str = "/x") -> bytes:
    """A whole request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


CHUNKED = request("POST", b"", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("POST", b"", "Content-Length: -1"), 400),
        (request("POST", b"", "Content-Length: +5") + b"12345", 400),
        (request("POST", b"", "Content-Length: 5, 6") + b"12345", 400),
        (request("POST", b"", "Content-Length: 5", "Content-Length: 6") + b"12345", 400),
        (request("POST", b"", "Content-Length: " + "9" * 30), 400),
        (request("POST", b"", "Content-Length: " + "9" * 18), 413),
        (request("POST", b"x" * 100_001), 413),
        (CHUNKED + b"-5\r\n12345\r\n0\r\n\r\n", 400),
        (CHUNKED + b"5\r\n12345xx0\r\n\r\n", 400),
        (CHUNKED + b"fffffffffffffffff\r\n", 400),
        (CHUNKED + b"5;" + b"x" * 5000, 431),
        (CHUNKED + (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 2 + b"0\r\n\r\n", 413),
        (request("POST", b"", "Transfer-Encoding: gzip"), 501),
        (request("TRACE"), 501),
        (request("CONNECT", target="localhost:80"), 501),
        (request("GET", b"", "X: " + "x" * 100_000), 431),
        (request("GET").replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
        (request("POST").replace(b"HTTP/1.1", b"HTTP/3.1"), 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
        (b"\r\n\r\nwhat\r\n\r\n", 400),
    ],
)
def test_a_bad_request_is_refused(address: tuple[str, int], sent: bytes, status: int) -> None:
    assert talk(address, sent).startswith(b"HTTP/1.1 %d " % status)


def test_a_connection_serves_one_request_after_the_other(address: tuple[str, int]) -> None:
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % (97 + n % 26) for n in range(5000))
    answers = talk(
        address,
        request("POST", b"one") + request("GET") + CHUNKED + chunks + b"0\r\nTrailer: t\r\n\r\n",
        b"GET /last HTTP/1.0\r\n\r\n",
        request("GET", target="/after-the-last"),
    ).split(b"HTTP/1.1 200 OK\r\n")
    assert [body_of(one)["body"] for one in answers[1:]] == [
        "one",
        "",
        ("abcdefghijklmnopqrstuvwxyz" * 193)[:5000],
        "",
    ]
    assert body_of(answers[-1])["target"] == "/last"


def test_a_head_request_gets_the_headers_alone(address: tuple[str, int]) -> None:
    answer = talk(address, request("HEAD"))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")
    assert b"\r\nX-Own: y\r\n" in answer and b"\r\nContent-Length: 0" not in answer


def test_a_client_may_ask_before_it_sends_the_body(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 20) as client:
        client.sendall(request("POST", b"", "Content-Length: 3", "Expect: 100-continue"))
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"abc")
        assert body_of(client.recv(4096))["body"] == "abc"
        # One that is too large is refused before it is sent.
        client.sendall(request("POST", b"", "Content-Length: 100001", "Expect: 100-continue"))
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sent", [b"G", request("POST", b"", "Content-Length: 5") + b"1"])
def test_a_slow_request_ends_with_a_408(sent: bytes) -> None:
    with (
        serving(replace(LIMITS, transfer=0.1)) as address,
        socket.create_connection(address, 20) as client,
    ):
        client.sendall(sent)
        assert rest_of(client).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed() -> None:
    with (
        serving(replace(LIMITS, idle=0.1)) as address,
        socket.create_connection(address, 20) as client,
    ):
        client.sendall(request("GET"))
        assert rest_of(client).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_take_its_answer_is_left() -> None:
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def much(request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        try:
            send(HttpResponse(status=200, headers=(), body=bytes(50_000_000)))
        except BaseException as error:
            done.put(error)
            raise

    with (
        serving(replace(LIMITS, transfer=0.1), much) as address,
        socket.create_connection(address, 20) as client,
    ):
        client.sendall(request("GET"))
        assert done.get(timeout=20)


def test_no_more_connections_than_the_limit_are_served_at_a_time() -> None:
    entered: queue.SimpleQueue[str] = queue.SimpleQueue()
    leave = threading.Event()
    inside: set[str] = set()
    most: list[int] = []

    def wait(request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        inside.add(request.target)
        most.append(len(inside))
        entered.put(request.target)
        leave.wait(20)
        inside.remove(request.target)
        echo(request, send)

    with serving(replace(LIMITS, connections=2), wait) as address:
        clients = [socket.create_connection(address, 20) for _ in range(4)]
        for number, client in enumerate(clients):
            client.sendall(request("GET", b"", "Connection: close", target=f"/{number}"))
        for _ in range(2):
            entered.get(timeout=20)
        leave.set()
        for number, client in enumerate(clients):
            with client:
                assert body_of(rest_of(client))["target"] == f"/{number}"
    assert max(most) == 2


# Any bytes.

#: Words of requests, which examples are put together from.
WORDS = st.one_of(
    st.sampled_from(
        [
            b"POST /x HTTP/1.1\r\n",
            b"HEAD /x HTTP/1.1\r\n",
            b"POST http://[/ HTTP/1.1\r\n",
            b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n",
            b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\n",
            b"PUT /x HTTP/1.0\r\n",
            b"Host: localhost\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: h2c\r\n",
            b"Lambda-Runtime-Function-Error-Type: \xff\r\n",
            b" folded\r\n",
            b"\r\n",
            b"\n",
            b"3\r\n",
            b"abc",
            b"0\r\n\r\n",
        ]
    ),
    st.binary(max_size=20),
)


def is_http(answer: bytes) -> bool:
    """Whether an answer is empty, or responses."""
    return answer == b"" or answer.startswith(b"HTTP/1.1 ")


@FUZZ
@given(pieces=st.lists(WORDS, max_size=12))
def test_any_bytes_get_a_response_or_none(address: tuple[str, int], pieces: list[bytes]) -> None:
    assert is_http(talk(address, b"".join(pieces)))


@FUZZ
@given(
    body=st.binary(min_size=1, max_size=3000),
    cuts=st.lists(st.integers(0, 3200), max_size=6),
    chunked=st.booleans(),
)
def test_a_request_is_the_same_however_it_is_cut(
    address: tuple[str, int], body: bytes, cuts: list[int], chunked: bool
) -> None:
    sent = request("POST", body)
    if chunked:
        sent = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    places = [0, *sorted(cuts), len(sent)]
    pieces = [sent[one:other] for one, other in pairwise(places)]
    assert body_of(talk(address, *pieces))["body"] == body.decode("latin-1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values),
    max_leaves=5,
)
ANSWERS = st.fixed_dictionaries(
    {"statusCode": st.sampled_from([200, 204, 304, "500", 99, None]) | JSON},
    optional={
        "headers": st.dictionaries(st.sampled_from(["x", "Date", "", "é"]), JSON) | JSON,
        "cookies": st.lists(st.text(max_size=9), max_size=2) | JSON,
        "body": st.text(max_size=9) | JSON,
        "isBase64Encoded": st.booleans(),
    },
)


@FUZZ
@given(answer=ANSWERS)
def test_a_response_that_is_not_refused_can_be_sent(address: tuple[str, int], answer: Any) -> None:
    try:
        GIVEN[:] = [response_of(json.dumps(answer).encode())]
    except ValueError:
        return
    told = talk(address, request("GET", target="/given"))
    assert told.startswith(b"HTTP/1.1 %d " % GIVEN[0].status)


def test_an_answer_that_fails_is_a_500_and_a_line() -> None:
    def failing(request: HttpRequest, send: Callable[[HttpResponse], None]) -> None:
        raise LookupError("there is none")

    reports: list[str] = []
    server = HttpServer(listening("127.0.0.1", 0), failing, LIMITS, reports.append)
    thread = threading.Thread(target=server.serve)
    address = server._listener.getsockname()
    thread.start()
    try:
        assert talk(address, request("GET", target="/x")).startswith(b"HTTP/1.1 500 ")
    finally:
        server.close()
        thread.join()
    assert reports == ["GET /x: LookupError: there is none"]


# The Runtime API.


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[RuntimeApi, tuple[str, int]]]:
    """A Runtime API, and its address."""
    problems: list[str] = []
    listener = listening("127.0.0.1", 0)
    served = RuntimeApi(listener, problems.append)
    try:
        yield served, listener.getsockname()
    finally:
        served.close()
    assert not problems


def cycle(api: RuntimeApi, address: tuple[str, int], answer: bytes) -> bytes:
    """An invocation over one connection: the status line of what the client hears."""
    while not api.messages.empty():
        api.messages.get()
    api.give(
        Request(id="1", event=b'{"a": 1}', deadline_ms=1, function_arn="arn", trace_id="Root=1")
    )
    root = "/2018-06-01/runtime/invocation"
    with socket.create_connection(address, 20) as client:
        client.sendall(request("GET", target=f"{root}/next"))
        heard = client.recv(65536)
        assert body_of(heard) == {"a": 1} and b"Lambda-Runtime-Trace-Id: Root=1\r\n" in heard
        with suppress(OSError):
            client.sendall(request("POST", answer, target=f"{root}/1/response"))
        return client.recv(65536).partition(b"\r\n")[0]


def test_an_answer_of_the_runtime_is_taken_up_to_its_limit(
    api: tuple[RuntimeApi, tuple[str, int]],
) -> None:
    assert cycle(*api, b"x" * LARGEST_PAYLOAD) == b"HTTP/1.1 202 Accepted"
    # It may end as soon as it has heard, and that must not come first.
    kinds = [api[0].messages.get_nowait().kind for _ in range(2)]
    assert kinds == ["ready", "response"]
    assert cycle(*api, b"x" * (LARGEST_PAYLOAD + 1)).startswith(b"HTTP/1.1 413 ")
    kinds = [api[0].messages.get_nowait().kind for _ in range(2)]
    assert kinds == ["ready", "too large"]


def test_the_cause_of_an_error_may_be_a_long_header(
    api: tuple[RuntimeApi, tuple[str, int]],
) -> None:
    cause = "Lambda-Runtime-Function-XRay-Error-Cause: " + "x" * (2**20 - 1)
    sent = request("POST", b"{}", cause, target="/2018-06-01/runtime/init/error")
    assert talk(api[1], sent).startswith(b"HTTP/1.1 202 ")


def test_a_web_page_gets_no_event(api: tuple[RuntimeApi, tuple[str, int]]) -> None:
    target = "/2018-06-01/runtime/invocation/next"
    for header in ("Origin: https://attacker.example", "Sec-Fetch-Site: cross-site"):
        assert talk(api[1], request("GET", b"", header, target=target)).startswith(b"HTTP/1.1 403 ")


@FUZZ
@given(pieces=st.lists(WORDS, max_size=12))
def test_any_bytes_leave_the_runtime_api_in_order(
    api: tuple[RuntimeApi, tuple[str, int]], pieces: list[bytes]
) -> None:
    assert is_http(talk(api[1], b"".join(pieces)))
    assert cycle(*api, b'"done"') == b"HTTP/1.1 202 Accepted"
