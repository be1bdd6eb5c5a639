"""Lambda's /etc, as a folder: what Amazon Linux has there, not what this machine, or an image, has.

Runs in containers too (see emulator/system.py), so it imports nothing of layerpack and runs on
Python 3.9 or later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Lambda's user. Its group has no name there: `id` prints `groups=990`.
USER, GROUP = 993, 990
_OWN: Final = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\n"
    f"sbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n",
    "group": "root:x:0:\n",
}
#: Of the system that the function runs on: names of the network, and OpenSSL's choice of ciphers.
#: Other files may hold secrets, and layerpack may run as root.
_COPIED: Final = (
    *("gai.conf", "host.conf", "hosts", "nsswitch.conf", "protocols", "resolv.conf", "services"),
    *("crypto-policies", "pki/tls/openssl.cnf"),
)
_BUNDLE: Final = "pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
#: As Amazon Linux has them; relative, as the folder is also looked at from outside.
_LINKS: Final = {
    "localtime": "../usr/share/zoneinfo/UTC",
    "pki/tls/cert.pem": "../ca-trust/extracted/pem/tls-ca-bundle.pem",
    "pki/tls/certs/ca-bundle.crt": "../../ca-trust/extracted/pem/tls-ca-bundle.pem",
    "ssl/certs": "../pki/tls/certs",
}
#: Where systems have their CA certificates in one file (crypto/x509/root_linux.go of Go).
_BUNDLES: Final = (
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"),
    *("/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem", f"/etc/{_BUNDLE}", "/etc/ssl/cert.pem"),
)


def ca_bundle() -> Path | None:
    """The file with this system's CA certificates; None where it has none."""
    named = os.environ.get("SSL_CERT_FILE", "")
    found = (Path(path) for path in (named, *_BUNDLES) if path)
    return next((path for path in found if path.is_file() and os.access(path, os.R_OK)), None)


def write_etc(folder: Path, os_release: Mapping[str, str], cache: bytes, ca_file: str) -> None:
    """Fill an empty folder; `cache` is the loader's, and `ca_file` the path at which the OpenSSL of
    Python's looks for CA certificates (written too if it is below /etc)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        source, copy = Path("/etc", name), folder / name
        # Absent, or not for this user.
        with suppress(OSError):
            if source.is_dir():
                shutil.copytree(source, copy)
            elif source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
    (folder / "ld.so.cache").write_bytes(cache)
    release = "".join(f'{name}="{value}"\n' for name, value in os_release.items())
    for name, text in {**_OWN, "os-release": release}.items():
        (folder / name).write_text(text, encoding="ascii")
    for name, target in _LINKS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    (folder / _BUNDLE).parent.mkdir(parents=True)
    bundle = ca_bundle()
    if bundle is None:
        for name in ("pki/tls/cert.pem", "pki/tls/certs/ca-bundle.crt"):
            (folder / name).unlink()
        return
    shutil.copyfile(bundle, folder / _BUNDLE)
    if ca_file.startswith("/etc/"):
        copy = folder / ca_file[len("/etc/") :]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copyfile(bundle, copy)
