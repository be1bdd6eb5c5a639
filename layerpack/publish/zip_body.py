"""A request's JSON with a zip in it, read from the disk as it is sent.

Lambda takes a zip as base64 within JSON. boto3 alone would hold it in memory four times, for every
region at once.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any, Final

_MARK: Final = b"\0zip of layerpack's:"
_FIELD: Final = re.compile(rb'"ZipFile":\s*"([A-Za-z0-9+/=]+)"')
#: Three bytes are four characters.
_GROUPS: Final = 16384


def stand_in(path: Path) -> bytes:
    """What to give boto3 for the zip at `path`; `insert_zip` puts the zip in its place."""
    return _MARK + str(path).encode()


def insert_zip(params: dict[str, Any], **_: Any) -> None:
    """A handler of botocore's `before-call`: put the zip in the place of its stand-in."""
    body = params.get("body")
    found = _FIELD.search(body) if isinstance(body, bytes) else None
    if found is None:
        return
    content = base64.b64decode(found[1])
    if content.startswith(_MARK):
        path = Path(content.removeprefix(_MARK).decode())
        assert isinstance(body, bytes)  # noqa: S101 (searched above)
        params["body"] = ZipBody(body[: found.start(1)], path, body[found.end(1) :])


class ZipBody(io.RawIOBase):
    """`head`, the base64 of a file, `tail`: a file that can be read and sought in."""

    def __init__(self, head: bytes, path: Path, tail: bytes) -> None:
        super().__init__()
        self._head = head
        self._tail = tail
        self._file = path.open("rb")
        size = path.stat().st_size
        self._middle = (size + 2) // 3 * 4
        self._at = 0

    def __len__(self) -> int:
        return len(self._head) + self._middle + len(self._tail)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: botocore reads it once for the signature, and again for another attempt."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, as in any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}[whence]
        self._at = max(0, min(len(self), start + offset))
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, all that are left for -1; fewer only at the end."""
        left = len(self) - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted > 0:
            part = self._piece(wanted)
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """For io's own readers."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the zip."""
        self._file.close()
        super().close()

    def _piece(self, wanted: int) -> bytes:
        """Up to `wanted` bytes of the part that the position is in."""
        at = self._at
        if at < len(self._head):
            return self._head[at : at + wanted]
        at -= len(self._head)
        if at < self._middle:
            # From the group of four characters that the position is in.
            group, skipped = divmod(at, 4)
            groups = min(_GROUPS, (skipped + wanted + 3) // 4)
            self._file.seek(group * 3)
            return base64.b64encode(self._file.read(groups * 3))[skipped : skipped + wanted]
        at -= self._middle
        return self._tail[at : at + wanted]
