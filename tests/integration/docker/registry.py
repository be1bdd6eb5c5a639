"""A registry of one image, for engines to pull from, at an address that they take without TLS."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Image Manifest Version 2, Schema 2 (CNCF Distribution, docs/spec/manifest-v2-2.md).
_TYPE = "application/vnd.docker."
_LIST = f"{_TYPE}distribution.manifest.list.v2+json"
_MANIFEST = f"{_TYPE}distribution.manifest.v2+json"
_CONFIG = f"{_TYPE}container.image.v1+json"
_LAYER = f"{_TYPE}image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What the registry has: its image's name there without a tag, its digest, and the digests of
    all its parts, of which some are an engine's identities for it."""

    name: str
    digest: str
    parts: tuple[str, ...]


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _documents(text: str) -> tuple[str, dict[str, tuple[str, bytes]]]:
    """The digest of a list of manifests for both architectures, and every document by its own."""
    found: dict[str, tuple[str, bytes]] = {}

    def keep(kind: str, data: bytes) -> dict[str, Any]:
        found[_digest(data)] = (kind, data)
        return {"mediaType": kind, "size": len(data), "digest": _digest(data)}

    manifests = []
    for architecture in ("amd64", "arm64"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            content = f"{text} {architecture}".encode()
            member = tarfile.TarInfo("which")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        layer = stream.getvalue()
        rootfs = {"type": "layers", "diff_ids": [_digest(layer)]}
        config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": keep(_CONFIG, json.dumps(config).encode()),
            "layers": [keep(_LAYER, gzip.compress(layer, mtime=0))],
        }
        entry = keep(_MANIFEST, json.dumps(manifest).encode())
        manifests.append({**entry, "platform": {"architecture": architecture, "os": "linux"}})
    whole = {"schemaVersion": 2, "mediaType": _LIST, "manifests": manifests}
    return str(keep(_LIST, json.dumps(whole).encode())["digest"]), found


@contextmanager
def registry(text: str) -> Iterator[Published]:
    """Serve an image whose only file holds the text, under every tag."""
    digest, documents = _documents(text)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.path.rpartition("/")[2]
            known: Mapping[str, tuple[str, bytes]] = documents
            if self.path == "/v2/":
                known = {"": ("application/json", b"{}")}
            elif "/manifests/" in self.path and not wanted.startswith("sha256:"):
                wanted = digest
            if wanted not in known:
                self.send_error(404)
                return
            kind, data = known[wanted]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        name = f"127.0.0.1:{server.server_address[1]}/team/build"
        yield Published(name=name, digest=digest, parts=tuple(documents))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
