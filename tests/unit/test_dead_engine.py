"""A function in a container of an engine that stops answering."""

from __future__ import annotations

import json
import re
import signal
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.docker_engine import Image, connect
from layerpack.emulator.docker import DockerRunning
from layerpack.held_container import HeldContainer
from layerpack.limits import RuntimeProfile

PROFILE = RuntimeProfile.load("python3.12", "x86_64")
VERSION = {"Version": "27.0", "ApiVersion": "1.45", "Arch": "amd64"}


class Dying(socketserver.StreamRequestHandler):
    """Answers as an engine does, until a container was started."""

    def handle(self) -> None:
        """Answer the requests of a connection."""
        while head := self._head():
            size = re.search(rb"(?i)content-length: (\d+)", head)
            self.rfile.read(int(size[1]) if size else 0)
            if b"/attach?" in head:
                self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n")
                self._started()
            elif head.startswith(b"DELETE"):
                # Nothing comes until the other side has gone.
                self.rfile.read()
            elif b"/version " in head:
                self._answer(VERSION)
            else:
                self._answer([] if b"/containers/json?" in head else {"Id": "a" * 64})

    def _head(self) -> bytes:
        head = b""
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            head += line
        return head

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self.wfile.write(f"{head}\r\n\r\n".encode() + body)

    def _started(self) -> None:
        """The agent's word that the function runs, and no more."""
        frame = struct.pack(">II", 0, 17) + b'{"started": true}'
        self.wfile.write(struct.pack(">BxxxL", 1, len(frame)) + frame)
        self.rfile.read()


@pytest.fixture
def address() -> Iterator[str]:
    """Where such an engine listens."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("killed", [True, False])
def test_a_function_ends_when_its_engine_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, killed: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    engine = connect(tmp_path)
    # Seconds that a request may take.
    engine.api.timeout = 1
    image = Image(reference="x", identity="sha256:x", digest="sha256:x")
    running = DockerRunning(HeldContainer(engine, image, PROFILE, talking=True))
    running.begin({})
    if killed:
        running.kill()
        assert running.wait() == -signal.SIGKILL
    running.end()
    assert running.wait() == -signal.SIGKILL
    engine.close()
