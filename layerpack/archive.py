"""Deterministic zips: sorted members, one date, two modes, one compressor at one setting.

Equal input gives equal bytes on every machine. That is why libdeflate compresses (its output
depends on its version alone, which the manifest names) and not the interpreter's zlib (which may be
zlib-ng), and why zips are written here: `zipfile` cannot take data that is compressed already.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import deflate

from layerpack.errors import BuildToolError, LimitError
from layerpack.payload import FileEntry
from layerpack.units import key_of, sha256_bytes, sha256_file, touch, write_aside, write_bytes
from layerpack.workers import in_processes

# 6 was measured on 60 MB of libraries: 84 MB/s; 9 gains 0.5 % of size at a third of the speed.
_LEVEL = 6
COMPRESSOR: Final = f"libdeflate (deflate {deflate.__version__}) level {_LEVEL}"
_COMPRESSOR_KEY: Final = key_of(COMPRESSOR)[:16]

# Smaller files are compressed again each time: reading them costs as much as keeping them.
_KEEP_FROM = 32 * 1024

# APPNOTE.TXT 4.3.7 and 4.3.12, 4.3.16: local header, central header, end record.
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # deflate
_UNIX = 3 << 8 | _VERSION  # made by Unix: the upper half of the external attributes is a mode
_UTF8 = 1 << 11
_DATE, _TIME = 0x21, 0  # 1980-01-01 00:00, the earliest
_STORED, _DEFLATED = 0, 8


class DamagedError(BuildToolError):
    """A file is no longer what was hashed when the build began."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} changed while the build ran, or before", "Build again.")
        self.path = path

    def __reduce__(self) -> tuple[type[DamagedError], tuple[Path]]:
        # It comes out of a worker process, and is made of its path.
        return DamagedError, (self.path,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A file's content as a zip holds it: its method, CRC-32 and size; the bytes in `data`, or in
    the file `source`."""

    method: int
    crc: int
    size: int
    data: bytes | None = None
    source: Path | None = None

    def read(self) -> bytes:
        """The compressed bytes."""
        if self.data is not None:
            return self.data
        if self.source is None:
            raise AssertionError("neither data nor a source")
        return self.source.read_bytes()[_KEPT.size :]


# A kept file begins with its method, its content's CRC-32, and the CRC-32 of both and of the
# compressed bytes.
_KEPT = struct.Struct("<HII")
_HEAD = struct.Struct("<HI")
#: Members and bytes of a zip without the format's Zip64 extension (APPNOTE.TXT 4.4.1.4).
MEMBERS_MAX: Final = 0xFFFF
_BYTES_MAX = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipRecord:
    """A zip that was written: its file, SHA-256, size, and the sum of its members' sizes."""

    path: Path
    sha256: str
    zipped_bytes: int
    unzipped_bytes: int


def compress_all(
    entries: Sequence[FileEntry],
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Packed]:
    """Each entry's content compressed, by its SHA-256; large ones are kept in the folder `cache`.

    `progress` counts bytes. Raises BuildToolError when a file is no longer what was hashed.
    """
    unique = {entry.sha256: entry for entry in entries}
    total = sum(entry.size for entry in unique.values())
    packed: dict[str, Packed] = {}
    jobs = []
    for digest, entry in unique.items():
        if entry.size >= _KEEP_FROM:
            # Another version of the compressor makes other bytes.
            job = _Job(source=entry.source, sha256=digest, kept=cache / _COMPRESSOR_KEY / digest)
            kept = _kept(job.kept, entry.size, digest)
            if kept is None:
                jobs.append(job)
            else:
                packed[digest] = kept
    # libdeflate holds the interpreter lock, so processes share the work, largest file first.
    jobs.sort(key=lambda job: (-unique[job.sha256].size, job.sha256))
    with in_processes(_keep, jobs) as completed:
        for digest, entry in unique.items():
            if entry.size < _KEEP_FROM:
                packed[digest] = _pack(entry.source, digest)
        done = sum(unique[digest].size for digest in packed)
        progress(done, total)
        for job in completed:
            kept = _kept(job.kept, unique[job.sha256].size, job.sha256)
            if kept is None:
                raise BuildToolError(f"{job.kept} vanished during the build", "Build again.")
            packed[job.sha256] = kept
            done += unique[job.sha256].size
            progress(done, total)
    return packed


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """A file to compress, and where the result is kept."""

    source: Path
    sha256: str
    kept: Path


def _kept(path: Path, content_size: int, sha256: str) -> Packed | None:
    """A kept file, as it was written, with the content of that size and hash; None without one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _KEPT.size:
        return None
    method, crc, own = _KEPT.unpack_from(data)
    size = len(data) - _KEPT.size
    # A loss of power can leave a file short: a damaged one is made anew.
    if _own_crc(method, crc, memoryview(data)[_KEPT.size :]) != own:
        return None
    content: bytes | bytearray = data[_KEPT.size :]
    if method == _DEFLATED:
        try:
            content = deflate.deflate_decompress(content, content_size)
        except deflate.DeflateError:
            return None
    if sha256_bytes(content) != sha256:
        return None
    touch(path)
    return Packed(method=method, crc=crc, size=size, source=path)


def _keep(job: _Job) -> None:
    packed = _pack(job.source, job.sha256)
    data = packed.read()
    own = _own_crc(packed.method, packed.crc, data)
    write_bytes(job.kept, _KEPT.pack(packed.method, packed.crc, own) + data)


def _own_crc(method: int, crc: int, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(_HEAD.pack(method, crc)))


def _pack(source: Path, sha256: str) -> Packed:
    content = source.read_bytes()
    if sha256_bytes(content) != sha256:
        raise DamagedError(source)
    compressed = bytes(deflate.deflate_compress(content, _LEVEL)) if content else b""
    crc = zlib.crc32(content)
    if len(compressed) < len(content):
        return Packed(method=_DEFLATED, crc=crc, size=len(compressed), data=compressed)
    return Packed(method=_STORED, crc=crc, size=len(content), data=content)


def member_size(entry: FileEntry, packed: Packed) -> int:
    """What a member takes in a zip, in bytes: data, local and central header."""
    return packed.size + _LOCAL.size + _CENTRAL.size + 2 * len(entry.path.encode())


def write_zip(path: Path, entries: Iterable[FileEntry], packed: dict[str, Packed]) -> ZipRecord:
    """Write a zip of the entries, sorted by path (aside, then renamed).

    Raises LimitError for more members or bytes than a zip without Zip64 can hold.
    """
    directory = []
    unzipped = 0
    count = 0
    with write_aside(path) as aside, aside.open("wb") as stream:
        for entry in sorted(entries, key=lambda entry: entry.path):
            content = packed[entry.sha256]
            name = entry.path.encode()
            flags = 0 if entry.path.isascii() else _UTF8
            common = (content.method, _TIME, _DATE, content.crc, content.size, entry.size)
            offset = stream.tell()
            local = _LOCAL.pack(b"PK\3\4", _VERSION, flags, *common, len(name), 0)
            stream.write(local + name + content.read())
            attributes = (stat.S_IFREG | entry.mode) << 16
            head = (b"PK\1\2", _UNIX, _VERSION, flags, *common, len(name), 0, 0, 0, 0)
            directory.append(_CENTRAL.pack(*head, attributes, offset) + name)
            unzipped += entry.size
            count += 1
            if count > MEMBERS_MAX or stream.tell() > _BYTES_MAX:
                raise LimitError(
                    f"{path.name} would hold more than a zip can: {count:,} files, "
                    f"{stream.tell():,} bytes",
                    "Raise layers.max, leave files out, or pack an asset into fewer files.",
                )
        start = stream.tell()
        listing = b"".join(directory)
        end = _END.pack(b"PK\5\6", 0, 0, count, count, len(listing), start, 0)
        stream.write(listing + end)
    return ZipRecord(
        path=path,
        sha256=sha256_file(path),
        zipped_bytes=path.stat().st_size,
        unzipped_bytes=unzipped,
    )
