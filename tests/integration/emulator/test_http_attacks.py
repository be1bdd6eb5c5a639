"""Clients that mean harm, at both servers of the emulator, each in a process of its own: it answers
the next client, prints no traceback, and its threads and memory stay few."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerpack.cache import Cache

ROOT = Path(__file__).parents[3]
INVOKE = "/2015-03-31/functions/small/invocations"
RUNTIME = "/2018-06-01/runtime"
#: Each serves until its standard input ends.
SERVERS = {
    "function": """
import sys, threading
from pathlib import Path
from layerpack.cache import Cache
from layerpack.emulation import open_front
from tests.integration.emulator.conftest import Log, program_in, started

program = program_in(Path(sys.argv[1]), Cache(Path(sys.argv[2])))
start = lambda: started(program, Log())
report = sys.stderr.write
with open_front(start, "small", host="127.0.0.1", port=0, limit=1, report=report) as front:
    thread = threading.Thread(target=front.serve)
    thread.start()
    print(front.url.rpartition(":")[2], flush=True)
    sys.stdin.read()
    front.stop()
    thread.join()
""",
    "runtime": """
import sys, threading
from layerpack.emulator.http_server import listening
from layerpack.emulator.runtime_api import Request, RuntimeApi

listener = listening("127.0.0.1", 0)
api = RuntimeApi(listener, sys.stderr.write)

def give():
    while True:
        if api.messages.get().kind == "ready":
            api.give(Request(id="1", event=b"{}", deadline_ms=1, function_arn="arn"))

threading.Thread(target=give, daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
api.close()
""",
}
#: Requests that an unharmed server answers so, without running anything.
GREETINGS = {
    "function": (f"POST {INVOKE} HTTP/1.1\r\nX-Amz-Invocation-Type: DryRun", 204),
    "runtime": (f"GET {RUNTIME}/invocation/next HTTP/1.1", 200),
}
#: For a client to send or to hear something, in seconds.
PATIENCE = 20
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Served:
    """A server's process and the port that it listens at."""

    kind: str
    process: subprocess.Popen[str]
    port: int

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def greet(self) -> None:
        """Ask as a client with manners."""
        text, status = GREETINGS[self.kind]
        with self.connect() as client:
            client.sendall(f"{text}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert rest_of(client).startswith(b"HTTP/1.1 %d " % status)

    def warm(self) -> None:
        """Have the function's execution environment started, whose threads stay."""
        if self.kind == "function":
            with self.connect() as client:
                client.sendall(
                    f"POST {INVOKE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    "Content-Length: 2\r\n\r\n{}".encode()
                )
                assert rest_of(client).startswith(b"HTTP/1.1 200 ")

    def status(self, name: str) -> int:
        """A figure of the process's, as the system tells it (proc(5): /proc/pid/status)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])


def end(process: subprocess.Popen[str]) -> str:
    """End a server, and return what it printed meanwhile."""
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return errors


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache
) -> Iterator[Served]:
    """A server; in the end it has printed nothing."""
    folder = tmp_path_factory.mktemp("served") / "program"
    command = [sys.executable, "-c", SERVERS[request.param], str(folder), str(emulator_cache.root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Served(request.param, process, int(process.stdout.readline()))
            assert end(process) == ""
        finally:
            process.kill()


def rest_of(client: socket.socket) -> bytes:
    """What still comes on a connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


# Any bytes in any manner.

WORDS = st.one_of(
    st.sampled_from(
        [
            *(
                b"POST %b HTTP/1.1\r\n" % path.encode()
                for path in (INVOKE, f"{RUNTIME}/init/error")
            ),
            *(b"GET %b HTTP/1.1\r\n" % path for path in (b"/x?a=%ff", b"//", b"*", b"http://[/")),
            b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n",
            b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\n",
            b"POST /2015-03-31/functions/%2e%2e%00/invocations HTTP/1.1\r\n",
            b"HEAD / HTTP/1.0\r\n",
            b"OPTIONS /x HTTP/9.9\r\n",
            b"Host: localhost\r\n",
            *(b"Content-Length: %b\r\n" % n for n in (b"3", b"-1", b"+3", b"9" * 19, b"3, 4", b"")),
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: h2c\r\n",
            b"Cookie: a=b; \xe9\r\n",
            b"X-Amz-Client-Context: e30=\r\n",
            b"X-Amz-Client-Context: \xff\r\n",
            b"X-Amz-Invocation-Type: DryRun\r\n",
            b"Lambda-Runtime-Function-Error-Type: \xff\r\n",
            *(b" folded\r\n", b"No-Colon\r\n", b": no name\r\n", b"\0: \0\r\n"),
            *(b"\r\n", b"\n", b"\r\n\r\n", b"3\r\n", b"abc", b'{"', b"0\r\n\r\n", b"-3\r\n"),
            *(b"fffffffffffffffff\r\n", b"3;x=\xff\r\nabc\r\n", b"[" * 5000, b"x" * 70_000),
        ]
    ),
    st.binary(max_size=20),
)
Manner = Literal["asks", "leaves", "resets", "stalls"]


@dataclass(frozen=True, slots=True)
class Client:
    """What a client sends, in pieces of so many bytes, and how it ends."""

    words: list[bytes]
    piece: int
    manner: Manner

    def harm(self, served: Served) -> socket.socket | None:
        """Send it; a connection that stalls is returned."""
        data = b"".join(self.words)
        client = served.connect()
        if self.manner == "stalls":
            self._send(client, data)
            return client
        with client:
            self._send(client, data)
            if self.manner == "asks":
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
                answer = rest_of(client)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            elif self.manner == "resets":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return None

    def _send(self, client: socket.socket, data: bytes) -> None:
        # It may have heard enough.
        with suppress(ConnectionError):
            for start in range(0, len(data), self.piece):
                client.sendall(data[start : start + self.piece])


CLIENTS = st.builds(
    Client,
    words=st.lists(WORDS, max_size=12),
    piece=st.sampled_from([1_000_000, 1_000_000, 997, 61]),
    manner=st.sampled_from(["asks", "leaves", "resets", "stalls"]),
)


@pytest.mark.parametrize("examples", [60, pytest.param(4000, marks=pytest.mark.exhaustive)])
def test_clients_of_any_manners_harm_no_other(served: Served, examples: int) -> None:
    served.warm()
    served.greet()
    threads = served.status("Threads")

    @settings(max_examples=examples, deadline=None, database=None)
    @given(clients=st.lists(CLIENTS, min_size=1, max_size=4))
    def harmed_by(clients: list[Client]) -> None:
        with ExitStack() as stalled:
            for client in clients:
                if (connection := client.harm(served)) is not None:
                    stalled.enter_context(connection)
            served.greet()

    harmed_by()
    deadline = time.monotonic() + PATIENCE
    while served.status("Threads") > threads:
        assert time.monotonic() < deadline


# Floods.


def flood(served: Served, head: bytes, piece: bytes, times: int) -> list[socket.socket]:
    """Eight clients that send a piece many times, as long as they are heard; they stay."""
    clients = [served.connect() for _ in range(8)]
    for client in clients:
        with suppress(ConnectionError):
            client.sendall(head)
            for _ in range(times):
                client.sendall(piece)
    return clients


TARGETS = {"function": INVOKE, "runtime": f"{RUNTIME}/invocation/1/response"}


@pytest.mark.parametrize(
    ("header", "piece", "times"),
    [
        ("X: ", b"x" * 65_536, 256),
        ("X: y", b"\r\nX: " + b"y" * 1000, 16_384),
        ("X: y", b"\r\nX:", 16_384),
        ("X: ", b"x" * 16, 16_384),
        ("Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n", 512),
        ("Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000, 10),
        ("Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65_536, 256),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: " + b"y" * 1000 + b"\r\n", 16_384),
        ("Content-Length: 999999999999\r\n\r\n", b"x" * 65_536, 512),
    ],
    ids=[
        "header",
        "headers",
        "short",
        "pieces",
        "chunks",
        "bytes",
        "extension",
        "trailer",
        "length",
    ],
)
def test_floods_take_little_memory(served: Served, header: str, piece: bytes, times: int) -> None:
    served.greet()
    # The peak is what it uses now (proc(5), clear_refs).
    Path(f"/proc/{served.process.pid}/clear_refs").write_text("5", encoding="ascii")
    before = served.status("VmHWM")
    head = f"POST {TARGETS[served.kind]} HTTP/1.1\r\nHost: localhost\r\n{header}".encode()
    for client in flood(served, head, piece, times):
        client.close()
    served.greet()
    assert (served.status("VmHWM") - before) * 1024 < 96 * MIB
