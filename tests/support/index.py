"""A package index (PEP 503) on 127.0.0.1, and plain files beside it, served from a thread."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename


@dataclass
class Gate:
    """Stops the answer for one file: `reached` is set when it is asked for."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that is killed or cancelled leaves in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LocalIndex:
    """Serves what was added; `requests` are the paths that were asked for, in order; `on_request`
    is called for each, while the client waits.

    Every index has an address of its own, because uv keeps answers by address.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, list[str]] = {}
        self.claimed: dict[str, str] = {}
        self.truncated: set[str] = set()
        self.chunked: set[str] = set()
        self.slow: set[str] = set()
        self.gates: dict[str, Gate] = {}
        self.requests: list[str] = []
        self.on_request: Callable[[], None] = lambda: None
        self._token = uuid.uuid4().hex
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for gate in self.gates.values():
            gate.opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def root(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{self._token}"

    @property
    def url(self) -> str:
        """The index's address."""
        return f"{self.root}/simple"

    def add(self, *paths: Path) -> None:
        """Publish wheels and source distributions, or publish them again with other content."""
        for path in paths:
            if path.name.endswith(".whl"):
                name = str(parse_wheel_filename(path.name)[0])
            else:
                name = str(parse_sdist_filename(path.name)[0])
            self.files[path.name] = path.read_bytes()
            names = self.pages.setdefault(name, [])
            if path.name not in names:
                names.append(path.name)

    def put(self, name: str, data: bytes) -> str:
        """Publish a plain file; returns its address."""
        self.files[name] = data
        return f"{self.root}/files/{name}"

    def gate(self, name: str) -> Gate:
        """Hold back the answer for a file until the gate is opened."""
        return self.gates.setdefault(name, Gate())

    def answer(self, path: str) -> bytes | None:
        """The content at a path, None where there is none."""
        parts = path.strip("/").split("/")
        if parts[0] != self._token:
            return None
        if parts[1:2] == ["files"] and len(parts) == 3:
            return self.files.get(parts[2])
        if parts[1:2] == ["simple"] and len(parts) == 3:
            names = self.pages.get(str(canonicalize_name(parts[2])))
            return None if names is None else self._page(names)
        return None

    def _page(self, names: list[str]) -> bytes:
        links = []
        for name in names:
            digest = self.claimed.get(name) or hashlib.sha256(self.files[name]).hexdigest()
            links.append(f'<a href="{self.root}/files/{name}#sha256={digest}">{name}</a>')
        return ("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>").encode()


def _handler(index: LocalIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            name = path.rsplit("/", 1)[-1]
            index.requests.append(path)
            index.on_request()
            if gate := index.gates.get(name):
                gate.reached.set()
                gate.opened.wait()
            data = index.answer(path)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            page = "/simple/" in path
            self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
            if name in index.chunked:
                # The first chunk alone, and then the connection ends.
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                half = data[: len(data) // 2]
                self.wfile.write(b"%x\r\n" % len(data) + half)
                return
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if name in index.slow:
                for number in range(len(data)):
                    self.wfile.write(data[number : number + 1])
                    threading.Event().wait(0.01)
                return
            if self.command == "GET":
                self.wfile.write(data[: len(data) // 2] if name in index.truncated else data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: the requests are kept."""

    return Handler


@contextmanager
def served_alone(uv_cache: Path) -> Iterator[LocalIndex]:
    """An empty index; until the end no setting of this machine adds another one."""
    with pytest.MonkeyPatch.context() as patch, LocalIndex() as served:
        for name in list(os.environ):
            if name.startswith(("PIP_", "UV_")):
                patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("UV_NO_CONFIG", "1")
        patch.setenv("UV_CACHE_DIR", str(uv_cache))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield served
