"""AWS on this machine: moto's server, and before it a proxy that answers what moto does not.

The proxy has AWS's limit of a request, tells how much room an account has, gives functions' code
for download, runs functions in layerpack's own emulator where a test starts it, and refuses, fails
or hangs up where a test says so.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from moto.awslambda.models import lambda_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/inference"
#: What the requests are signed with; a test looks for it where it must not be.
SECRET = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEKEY000001",
    "AWS_SECRET_ACCESS_KEY": "very-secret-key-of-the-tests",
    "AWS_SESSION_TOKEN": "very-secret-token-of-the-tests",
}
#: AWS answers 413 to more: base64 of 50 MB and what belongs to it.
_LARGEST_BODY = 70_167_211
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/")
_CODE = "/code-of/"
#: What changes a function, or needs it to be at rest.
_CHANGES = ("/code", "/configuration", "/versions", "/invocations")
_LOOKS = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came, as the signature tells: its service and region."""

    method: str
    path: str
    service: str
    region: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.service} {self.region} {self.path}"


@dataclass(kw_only=True)
class Rule:
    """What happens to requests that `matches` names, so many `times`.

    `status`, `code` and `message` are an answer of AWS's; `hang_up`: the connection is closed,
    `after` the request was carried out or before; `change` changes moto's JSON answer; `wait` is
    waited for before anything happens (`waited`: it came, `begun`: a request did).
    """

    matches: Callable[[Asked], bool]
    times: int = 1
    status: int = 0
    code: str = ""
    message: str = ""
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    after: bool = False
    change: Callable[[dict[str, Any]], None] | None = None
    waited: bool = False
    begun: threading.Event = field(default_factory=threading.Event)
    wait: threading.Event | None = None


class FakeAws:
    """The proxy: `url` is the endpoint, `asked` what came, `rules` what happens to what comes."""

    def __init__(self, moto: tuple[str, int]) -> None:
        self._moto = moto
        self.asked: list[Asked] = []
        self.rules: list[Rule] = []
        #: The account's limit of code, and what is used of it.
        self.room = [80_530_636_800, 1_000]
        #: How often a function, or a version, is looked at before what was asked for is done.
        self.moving: dict[str, int] = {}
        #: How many hours ago unfinished uploads to S3 were begun.
        self.uploads_age = 0
        #: Where `layerpack serve` answers for functions; empty: nothing does.
        self.functions = ""
        self._lock = threading.Lock()
        aws = self

        class Handler(_Handler):
            fake = aws

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything, moto's state too."""
        self.asked.clear()
        self.rules.clear()
        self.room = [80_530_636_800, 1_000]
        self.functions = ""
        self.moving.clear()
        self.uploads_age = 0
        self.forward("POST", "/moto-api/reset", {}, b"")

    def add(self, method: str, path: str, *, region: str = "", **rule: Any) -> Rule:
        """Have requests of this method, path (a regular expression) and region answered so."""

        def matches(asked: Asked) -> bool:
            return (
                asked.method == method
                and re.search(path, asked.path) is not None
                and region in ("", asked.region)
            )

        made = Rule(matches=matches, **rule)
        self.rules.append(made)
        return made

    def count(self, method: str, path: str) -> int:
        """How many such requests came."""
        with self._lock:
            return sum(a.method == method and bool(re.search(path, a.path)) for a in self.asked)

    def client(self, service: str, region: str = "eu-west-1") -> Any:
        """boto3's client of moto itself, past the proxy."""
        host, port = self._moto
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )

    def layers(self, region: str = "eu-west-1") -> dict[str, list[str]]:
        """The versions of each layer in moto, the oldest first, by their CodeSha256."""
        client = self.client("lambda", region)
        found: dict[str, list[str]] = {}
        for layer in client.list_layers()["Layers"]:
            name = layer["LayerName"]
            versions = client.list_layer_versions(LayerName=name)["LayerVersions"]
            found[name] = [
                client.get_layer_version(LayerName=name, VersionNumber=number)["Content"][
                    "CodeSha256"
                ]
                for number in sorted(one["Version"] for one in versions)
            ]
        return found

    def function(self, name: str, region: str = "eu-west-1") -> dict[str, Any]:
        """A function's configuration in moto."""
        found: dict[str, Any] = self.client("lambda", region).get_function_configuration(
            FunctionName=name
        )
        return found

    def code(self, name: str, region: str = "eu-west-1") -> bytes:
        """A function's code in moto."""
        function = lambda_backends[ACCOUNT][region].get_function(name)
        content: bytes = function.code_bytes
        return content

    # For the handler.

    def take(self, asked: Asked) -> Rule | None:
        """Note a request, and find what happens to it."""
        with self._lock:
            self.asked.append(asked)
            rules = list(self.rules)
        for rule in rules:
            if rule.matches(asked):
                with self._lock:
                    if rule.times > 0:
                        rule.times -= 1
                        return rule
        return None

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes, to: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer of moto, or of another server."""
        host, port = self._moto
        if to:
            host, port = str(urlsplit(to).hostname), urlsplit(to).port or 80
        connection = HTTPConnection(host, port, timeout=120)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        gone = {"content-length", "transfer-encoding", "expect", "connection"}
        for name, value in headers.items():
            if name.lower() not in gone:
                connection.putheader(name, value)
        if "Host" not in headers:
            connection.putheader("Host", f"{host}:{port}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in gone}
        if answer.getheader("Content-Length") and method == "HEAD":
            kept["Content-Length"] = str(answer.getheader("Content-Length"))
        connection.close()
        return answer.status, kept, content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeAws

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        body = self._body()
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        region, service = (scope[1], scope[2]) if scope else ("", "")
        asked = Asked(
            method=self.command,
            path=self.path,
            service=service,
            region=region,
            body=body,
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        rule = self.fake.take(asked)
        if rule is not None:
            rule.begun.set()
            if rule.wait is not None:
                rule.waited = rule.wait.wait(60)
            if rule.hang_up and not rule.after:
                self.close_connection = True
                return
            if rule.status:
                self._refuse(rule)
                return
        status, headers, content = self._answer(asked)
        if rule is not None and rule.hang_up:
            self.close_connection = True
            return
        if rule is not None and rule.change is not None:
            value = json.loads(content)
            rule.change(value)
            content = json.dumps(value).encode()
        self._send(status, headers, content)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the server's names)

    def _answer(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.service == "lambda" and len(asked.body) > _LARGEST_BODY:
            return _error(413, "RequestEntityTooLargeException", "Request must be smaller")
        if asked.service == "lambda" and (state := self._state(asked)) is not None:
            return state
        invoked = re.search(r"/functions/([^/]+)/invocations", asked.path)
        if invoked:
            path = asked.path.replace(f"/{invoked[1]}/", "/small/").partition("?")[0]
            return self.fake.forward("POST", path, {}, asked.body, self.fake.functions)
        if "/account-settings" in asked.path:
            limit, used = self.fake.room
            value = {"AccountLimit": {"TotalCodeSize": limit}}
            return _json({**value, "AccountUsage": {"TotalCodeSize": used}})
        if asked.path.startswith(_CODE):
            _, _, region, name = asked.path.split("/")
            return 200, {"Content-Type": "application/zip"}, self.fake.code(name, region)
        answer = self._forwarded(asked)
        if asked.service == "s3" and asked.path.partition("?")[2].startswith("uploads"):
            # moto has all of them begun in 2010.
            begun = datetime.now(UTC) - timedelta(hours=self.fake.uploads_age)
            text = f"<Initiated>{begun:%Y-%m-%dT%H:%M:%S.000Z}".encode()
            content = re.sub(rb"<Initiated>[^<]*", text, answer[2])
            answer = answer[0], answer[1], content
        found = re.search(r"/functions/([^/?]+)/?$", asked.path)
        if asked.method == "GET" and found and answer[0] == 200:
            value = json.loads(answer[2])
            address = f"{self.fake.url}{_CODE}{asked.region}/{found[1]}"
            value.setdefault("Code", {})["Location"] = address
            answer = _json(value)
        return answer

    def _state(self, asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        """What only AWS has: changes take a while, and meanwhile no other is taken."""
        path, _, query = asked.path.partition("?")
        named = re.search(r"/functions/([^/]+)(/[a-z]+)?/?$", path)
        created = asked.method == "POST" and path.rstrip("/").endswith("/functions")
        name = str(asked.json["FunctionName"]) if created else named[1] if named else ""
        part = named[2] if named and not created else ""
        if not name or (part not in _CHANGES and not created):
            return None
        version = re.search(r"Qualifier=([0-9]+)", query)
        key = f"{asked.region} {name}" + (f":{version[1]}" if version else "")
        moving = self.fake.moving
        if asked.method == "GET" and part == "/configuration":
            status, headers, content = self._forwarded(asked)
            if moving.get(key, 0) > 0 and status == 200:
                moving[key] -= 1
                state = {"State": "Pending"} if version else {"LastUpdateStatus": "InProgress"}
                content = json.dumps({**json.loads(content), **state}).encode()
            return status, headers, content
        if asked.method not in ("PUT", "POST"):
            return None
        if moving.get(key, 0) > 0:
            text = f"An update is in progress for resource: {name}"
            return _error(409, "ResourceConflictException", text)
        if part == "/invocations":
            return None
        answer = self._forwarded(asked)
        if answer[0] in (200, 201):
            if part == "/versions":
                key += f":{json.loads(answer[2])['Version']}"
            moving[key] = _LOOKS
        return answer

    def _forwarded(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        headers = dict(self.headers.items())
        return self.fake.forward(asked.method, asked.path, headers, asked.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refuse(self, rule: Rule) -> None:
        status, headers, content = _error(rule.status, rule.code, rule.message)
        if rule.body is not None:
            content = rule.body
        self._send(status, {**headers, **rule.headers}, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("date", "server"):
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    return status, headers, json.dumps({"Type": "User", "message": message}).encode()


@contextmanager
def fake_aws() -> Iterator[FakeAws]:
    """AWS on this machine, until the end."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        fake = FakeAws(server.get_host_and_port())
        try:
            yield fake
        finally:
            fake.close()
    finally:
        server.stop()
