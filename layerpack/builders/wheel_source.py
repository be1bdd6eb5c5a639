"""A wheel's members, and where they are installed: as pip does, by pypa/installer.

installer follows the specification ("Binary distribution format"); published wheels do not always.
Like pip, this takes a RECORD that lists other files than there are, data in a folder that is not
spelled as the file is, and scripts that entry points make too. Unlike pip, it checks the hashes
that RECORD lists.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self, cast

from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, parse_entrypoints

from layerpack.process import stop_if_ending

_SIGNATURES = ("RECORD", "RECORD.jws", "RECORD.p7s")
#: The algorithms that the specification leaves (it forbids md5 and sha1).
_HASHES = ("sha256", "sha384", "sha512")
#: Folders of Destination.at; other schemes are the root.
_PLACES = {"scripts": "bin/", "headers": "include/"}


class MemberError(ValueError):
    """A member, or what RECORD lists of it, is wrong; the text names it."""


class Source(WheelFile):
    """The members of a wheel that are installed.

    Raises MemberError, when it is made, for entry points that are malformed.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(archive)
        self._made = self._scripts_of_entry_points()

    @classmethod
    @contextmanager
    def open(cls, path: os.PathLike[str]) -> Iterator[Self]:
        """The wheel at `path`."""
        with zipfile.ZipFile(path) as archive:
            yield cls(archive)

    @cached_property
    def data_dir(self) -> str:
        """The folder with scripts, headers and data."""
        tops = {name.partition("/")[0] for name in self._zipfile.namelist()}
        return min((top for top in tops if top.endswith(".data")), default=super().data_dir)

    @cached_property
    def listed(self) -> dict[str, str]:
        """Path -> hash (`sha256=...`), as RECORD lists them."""
        rows = csv.reader(self.read_dist_info("RECORD").splitlines())
        return {row[0].replace("\\", "/"): row[1] for row in rows if len(row) > 1}

    @property
    def unlisted(self) -> list[str]:
        """The members that RECORD lacks; it does not list its own hash, and no signatures."""
        own = {f"{self.dist_info_dir}/{name}" for name in _SIGNATURES}
        names = (name for name in self._zipfile.namelist() if not name.endswith("/"))
        return [name for name in names if name not in self.listed and name not in own]

    @property
    def placed(self) -> dict[str, tuple[int, int] | None]:
        """The paths of an installation, each with its member's size and CRC-32; None for what
        installing writes or changes itself."""
        scripts = f"{self.data_dir}/scripts/"
        found: dict[str, tuple[int, int] | None] = {f"{self.dist_info_dir}/RECORD": None}
        found |= {f"bin/{name.removeprefix(scripts)}": None for name in self._made}
        for item in self._members():
            path = item.filename
            if path.startswith(f"{self.data_dir}/"):
                _, scheme, rest = path.split("/", 2)
                path = _PLACES.get(scheme, "") + rest
            is_script = item.filename.startswith(scripts)
            content = None if is_script else (item.file_size, item.CRC)
            found.setdefault(PurePosixPath(path).as_posix(), content)
        return found

    def _members(self) -> Iterator[zipfile.ZipInfo]:
        """Those that are installed: no bytecode, which is valid nowhere else."""
        for item in self._zipfile.infolist():
            name = item.filename
            is_bytecode = "__pycache__" in name.split("/")[:-1]
            if not (item.is_dir() or is_bytecode or name in self._made):
                yield item

    def _scripts_of_entry_points(self) -> frozenset[str]:
        """Members that installing makes anew: older tools put a wrapper into the wheel as well."""
        if "entry_points.txt" not in self.dist_info_filenames:
            return frozenset()
        try:
            points = list(parse_entrypoints(self.read_dist_info("entry_points.txt")))
        except Exception as error:
            # installer asserts, and configparser has errors of its own.
            raise MemberError(f"entry_points.txt is malformed: {error}") from error
        return frozenset(f"{self.data_dir}/scripts/{name}" for name, *_ in points)

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Every member that is installed. Raises MemberError for one whose hash is not that of
        RECORD, when the next one is asked for."""
        for item in self._members():
            name = item.filename
            mode = item.external_attr >> 16
            is_executable = stat.S_ISREG(mode) and bool(mode & 0o111)
            with self._zipfile.open(item) as stream:
                reader = _Reader(cast(BinaryIO, stream), self.listed.get(name, ""))
                if name.startswith(f"{self.data_dir}/scripts/"):
                    # installer looks for a script's first line, and goes back.
                    yield (name, "", ""), io.BytesIO(reader.read()), is_executable
                else:
                    yield (name, "", ""), cast(BinaryIO, reader), is_executable
            if not reader.is_as_listed():
                raise MemberError(f"{name} has another hash than RECORD lists")


class _Reader:
    """Hashes a member while it is read."""

    def __init__(self, stream: BinaryIO, listed: str) -> None:
        self._stream = stream
        algorithm, _, self._digest = listed.partition("=")
        self._hash = hashlib.new(algorithm) if algorithm in _HASHES else None

    def read(self, size: int = -1) -> bytes:
        stop_if_ending()
        data = self._stream.read(size)
        if self._hash is not None:
            self._hash.update(data)
        return data

    def is_as_listed(self) -> bool:
        """Whether what was read has the hash of RECORD, or RECORD has none."""
        if self._hash is None:
            return True
        digest = base64.urlsafe_b64encode(self._hash.digest()).decode()
        return digest.rstrip("=") == self._digest.rstrip("=")


class Destination(SchemeDictionaryDestination):
    """Writes to one folder; scripts are executable, also in wheels made on Windows."""

    @classmethod
    def at(cls, root: Path, interpreter: str) -> Destination:
        """The layout of `pip install --target`; scripts start with `interpreter`."""
        schemes = {name: str(root) for name in ("purelib", "platlib", "data")}
        schemes |= {"scripts": str(root / "bin"), "headers": str(root / "include")}
        return cls(scheme_dict=schemes, interpreter=interpreter, script_kind="posix")

    def write_file(
        self, scheme: Scheme, path: object, stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write a member, and return its record."""
        runs = is_executable or scheme == "scripts"
        return super().write_file(scheme, str(path), stream, runs)
