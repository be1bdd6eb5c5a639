"""Receiving what a server sends, within limits of size and time."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import IO, Final

from layerpack.units import human_size

_CHUNK: Final = 1 << 20
#: For a whole download.
_LONGEST_SECONDS: Final = 3600
_MOST_BYTES: Final = 2_000_000_000


class UnfitError(Exception):
    """A download is larger or slower than one may be; the message is a clause."""


def receive(
    answer: http.client.HTTPResponse,
    total: int,
    stream: IO[bytes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write what comes to `stream`; returns its bytes. Raises UnfitError, and what reading does.

    `total` is what the server announces, 0 where it does not.
    """
    until = time.monotonic() + _LONGEST_SECONDS
    size = 0
    # What is there: a full chunk of a server that sends a byte a minute would never come.
    while total <= _MOST_BYTES and size <= _MOST_BYTES and (chunk := answer.read1(_CHUNK)):
        size += stream.write(chunk)
        progress(size, total and max(total, size))
        if time.monotonic() > until:
            raise UnfitError(f"takes more than {_LONGEST_SECONDS:,} seconds to download")
    if max(total, size) > _MOST_BYTES:
        raise UnfitError(f"has more than {human_size(_MOST_BYTES)}")
    return size
