"""What the pager knows of code that was left out: `struct lp_drops` and its table, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import zstandard

from layerpack.elf.drops import Dropped, Drops
from layerpack.elf.format import ElfError

#: thrower, needs, advice, table, table_size, table_raw, reserved (`pager/format.h`).
_HEADER: Final = struct.Struct("<QIIIII4x")
_COUNTS: Final = struct.Struct("<III4x")
_DROPPED: Final = struct.Struct("<IIII")
_ENTRY: Final = struct.Struct("<IIIIHH")
_PROBE: Final = struct.Struct("<II")
#: LP_NEEDS_*.
NEEDS: Final = {"": 0, "baseline": 0, "neon": 0, "avx2": 1, "avx512": 2, "sve": 3}
_LEVEL: Final = 19
#: Mangled names of C++ templates run to kilobytes, and tell no more than their beginning.
_LONGEST_NAME: Final = 120


def drop_table(drops: Drops, originals: bytes) -> bytes:
    """The table; a multiple of 4 bytes.

    `originals` are the bytes that the probes replace, in order. Raises ElfError for addresses
    beyond 4 GiB.
    """
    dropped = list(_joined(drops.dropped))
    arrays = _DROPPED.size * len(dropped) + _ENTRY.size * len(drops.entries)
    texts = _Texts(at=_COUNTS.size + arrays + _PROBE.size * len(drops.probes))
    parts = [_COUNTS.pack(len(dropped), len(drops.entries), len(drops.probes))]
    try:
        for one in dropped:
            name, hint = texts.at(one.name[:_LONGEST_NAME]), texts.at(one.hint)
            parts.append(_DROPPED.pack(one.start, one.end - one.start, name, hint))
        for entry in sorted(drops.entries, key=lambda one: one.vaddr):
            around = (texts.at(text) for text in (entry.before, entry.after, entry.name))
            parts.append(_ENTRY.pack(entry.vaddr, *around, entry.argument, entry.steps))
        probes = sorted(zip(drops.probes, originals, strict=True))
        parts += [_PROBE.pack(vaddr, byte) for vaddr, byte in probes]
    except struct.error:
        raise ElfError("it is too large for code to be left out") from None
    raw = b"".join(parts) + texts.data
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
    hint_text = drops.needs_hint.encode() + b"\0"
    hint_text += bytes(-len(hint_text) % 4)
    table = _HEADER.size + len(hint_text)
    header = _HEADER.pack(
        drops.thrower, NEEDS[drops.needs], _HEADER.size, table, len(frame), len(raw)
    )
    return header + hint_text + frame + bytes(-len(frame) % 4)


def _joined(dropped: Iterable[Dropped]) -> Iterator[Dropped]:
    """Neighbours without a name of their own as one, under the name of the first."""
    last: Dropped | None = None
    for one in sorted(dropped, key=lambda item: item.start):
        if last is not None and last.end == one.start and last.hint == one.hint and not one.name:
            last = replace(last, end=one.end)
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


class _Texts:
    """NUL-terminated texts, each once, in the order in which they are asked for."""

    def __init__(self, *, at: int) -> None:
        self._start = at
        self._places: dict[str, int] = {}
        self._data = bytearray()

    def at(self, text: str) -> int:
        """A text's offset from the table's start."""
        if text not in self._places:
            self._places[text] = self._start + len(self._data)
            self._data += text.encode("utf-8", "replace") + b"\0"
        return self._places[text]

    @property
    def data(self) -> bytes:
        """All of them."""
        return bytes(self._data)
