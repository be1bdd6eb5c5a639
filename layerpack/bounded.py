"""The beginning and the end of a stream of bytes, however long it gets."""

from __future__ import annotations

from typing import Final

_MOST: Final = 1 << 24


class Bounded:
    """The first and the last `most` bytes of what `extend` gets; the lines between them are left
    out, and counted."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def extend(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._most - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # Not for every piece, as the rest is moved.
        if len(self._tail) > self._most + self._most // 4:
            self._left_out += len(self._tail) - self._most
            del self._tail[: -self._most]

    @property
    def text(self) -> str:
        """What there is, by whole lines where something is left out."""
        if not self._left_out:
            return (self._head + self._tail).decode(errors="replace")
        # A line that was cut would say something else.
        head = self._head[: self._head.rfind(b"\n") + 1] or self._head + b"\n"
        tail = self._tail[self._tail.find(b"\n") + 1 :]
        left_out = self._left_out + len(self._head) - len(head) + len(self._tail) - len(tail)
        note = f"[{left_out:,} bytes are left out here]\n"
        return head.decode(errors="replace") + note + tail.decode(errors="replace")
