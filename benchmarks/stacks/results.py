"""Results of checks, written one by one, so that a crash does not take those before with it.

Runs in the interpreter of a tree of packages, so it needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

#: Writes a line for each: `{"id": ..., "outcome": ...}`, where the outcome is a digest, or an
#: exception's text.
MARK: Final = "error: "


class Results:
    """Writes to the file at `path` as the checks end; only those whose name begins with `prefix`
    are made."""

    def __init__(self, path: str, prefix: str = "") -> None:
        self._prefix = prefix
        self._stream = Path(path).open("a", encoding="utf-8")  # noqa: SIM115

    def check(
        self, name: str, compute: Callable[..., Any], *arguments: Any, **options: Any
    ) -> None:
        """Keep what `compute(...)` gives, or raises, as the result called `name`."""
        if not name.startswith(self._prefix):
            return
        try:
            outcome = digest(compute(*arguments, **options))
        except Exception as error:
            outcome = f"{MARK}{type(error).__name__}: {error}"[:2000]
            # For who looks into it; equal errors in both trees are equal results.
            traceback.print_exc()
        self._stream.write(json.dumps({"id": name, "outcome": outcome}) + "\n")
        self._stream.flush()


def digest(value: Any) -> str:
    """One for all bits of a value: arrays (by dtype, shape and bytes), and containers of these."""
    hasher = hashlib.sha256()
    _feed(hasher, value)
    return "bits in " + hasher.hexdigest()[:32]


def _feed(hasher: Any, value: Any) -> None:
    if hasattr(value, "asnumpy"):
        value = value.asnumpy()
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        hasher.update(f"array {value.dtype} {getattr(value, 'shape', ())} ".encode())
        if getattr(value.dtype, "hasobject", False):
            _feed(hasher, value.tolist())
        else:
            hasher.update(value.tobytes())
    elif isinstance(value, (bytes, bytearray, memoryview)):
        hasher.update(b"bytes " + bytes(value))
    elif isinstance(value, dict):
        hasher.update(b"dict ")
        for key, one in value.items():
            _feed(hasher, key)
            _feed(hasher, one)
    elif isinstance(value, (list, tuple)):
        hasher.update(f"sequence {len(value)} ".encode())
        for one in value:
            _feed(hasher, one)
    else:
        # repr of a float is exact.
        hasher.update(f"{type(value).__name__} {value!r} ".encode())
