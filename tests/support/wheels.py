"""Wheels and source distributions, made member by member, so that they can also be made wrong."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import tarfile
import textwrap
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

_DATE = (2024, 5, 17, 12, 30, 0)

# A PEP 517 backend that needs nothing installed. The wheel tells which Python built it.
_BACKEND = """\
import base64, hashlib, sys, zipfile

NAME, VERSION, MODULE = {name!r}, {version!r}, {module!r}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    {statement}
    stem = f"{{NAME.replace('-', '_')}}-{{VERSION}}"
    info = f"{{stem}}.dist-info"
    python = "%d.%d" % sys.version_info[:2]
    members = {{
        f"{{MODULE}}/__init__.py": f"BUILT_WITH = {{python!r}}\\n",
        f"{{info}}/METADATA": f"Metadata-Version: 2.2\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    record = ""
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{{path}},sha256={{digest.decode()}},{{len(text)}}\\n"
    members[f"{{info}}/RECORD"] = record + f"{{info}}/RECORD,,\\n"
    name = f"{{stem}}-py3-none-any.whl"
    with zipfile.ZipFile(f"{{wheel_directory}}/{{name}}", "w") as archive:
        for path, text in members.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return name
"""


def module_of(name: str) -> str:
    """The import name that the made distributions use."""
    return name.lower().replace("-", "_")


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    files: Mapping[str, str | bytes] | None = None,
    requires: Iterable[str] = (),
    python: str = "",
    executable: Collection[str] = (),
    extra: Iterable[tuple[zipfile.ZipInfo | str, bytes]] = (),
) -> Path:
    """A wheel in `folder`; `extra` members come last and are listed in RECORD like the others."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    required = "".join(f"Requires-Dist: {text}\n" for text in requires)
    required += f"Requires-Python: {python}\n" if python else ""
    pure = "true" if tag.endswith("-any") else "false"
    members: dict[str, bytes] = {
        path: text.encode() if isinstance(text, str) else text
        for path, text in (
            files
            if files is not None
            else {f"{module_of(name)}/__init__.py": f"VERSION = {version!r}\n"}
        ).items()
    }
    members[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}".encode()
    )
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    )
    extra = list(extra)
    path = folder / f"{stem}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(_info(member, executable=member in executable), data)
        for member_info, data in extra:
            archive.writestr(member_info, data)
        record = [f"{member},{_hash(data)},{len(data)}\n" for member, data in members.items()]
        for member_info, data in extra:
            listed = member_info if isinstance(member_info, str) else member_info.filename
            record.append(f"{listed},{_hash(data)},{len(data)}\n")
        record.append(f"{info}/RECORD,,\n")
        archive.writestr(_info(f"{info}/RECORD"), "".join(record))
    return path


def symlink_member(path: str) -> zipfile.ZipInfo:
    """A member that claims to be a symbolic link."""
    info = zipfile.ZipInfo(path, _DATE)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def make_sdist(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    statement: str = "pass",
    requires: Iterable[str] = (),
) -> Path:
    """A source distribution that builds itself; `statement` runs first in its `build_wheel`.

    `requires` are its build requirements.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    backend = _BACKEND.format(
        name=name, version=version, module=module_of(name), statement=statement
    )
    project = f"""\
        [build-system]
        requires = {list(requires)}
        build-backend = "backend"
        backend-path = ["."]
        [project]
        name = "{name}"
        version = "{version}"
        """
    members = {
        "backend.py": backend,
        "pyproject.toml": textwrap.dedent(project),
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in members.items():
            entry = tarfile.TarInfo(f"{stem}/{member}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    """A file's SHA-256, by hashlib."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _info(path: str, *, executable: bool = False) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _DATE)
    info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
