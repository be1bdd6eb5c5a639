"""Whether two answers of a function are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

#: Who gave the two answers, for the sentences that tell their difference.
Sides = tuple[str, str]
_BUILT: Final[Sides] = ("the plain install", "the layers")


def difference(plain: bytes, packed: bytes, tolerance: float, sides: Sides = _BUILT) -> str | None:
    """Where two answers (JSON) differ, and how; None where they are equal.

    Numbers may differ by `tolerance`, relative to the larger one (and to 1, where both are
    smaller), unless both are whole. Texts that hold JSON's objects or lists, as bodies of HTTP
    answers do, are compared as such.
    """
    if plain == packed:
        return None
    try:
        values = json.loads(plain), json.loads(packed)
        return next(_differences("answer", *values, tolerance, sides), None)
    except ValueError:
        return "the answers differ, and are not JSON"
    except RecursionError:
        return "the answers differ, and are nested too deep to tell where"


def _differences(
    where: str, left: Any, right: Any, tolerance: float, sides: Sides
) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() ^ right.keys()):
            side = sides[0] if name in left else sides[1]
            yield f"{where}.{name} is there from {side} alone"
        for name in sorted(left.keys() & right.keys()):
            yield from _differences(f"{where}.{name}", left[name], right[name], tolerance, sides)
    elif isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            yield f"{where} has {len(left)} items from {sides[0]}, {len(right)} from {sides[1]}"
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            yield from _differences(f"{where}[{number}]", one, other, tolerance, sides)
    elif isinstance(left, str) and isinstance(right, str) and left != right:
        values = _structure(left), _structure(right)
        if None in values:
            yield _told(where, left, right, sides)
        else:
            yield from _differences(where, *values, tolerance, sides)
    elif not _same(left, right, tolerance):
        yield _told(where, left, right, sides)


def _structure(text: str) -> Any:
    """The object or list that a text holds; None for any other."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def _same(left: Any, right: Any, tolerance: float) -> bool:
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, numbers) and isinstance(right, numbers):
        if isinstance(left, int) and isinstance(right, int):
            return left == right
        try:
            one, other = float(left), float(right)
        except OverflowError:
            return left == right
        if not math.isfinite(one) or not math.isfinite(other):
            return one == other or (math.isnan(one) and math.isnan(other))
        return one == other or abs(one - other) <= tolerance * max(1.0, abs(one), abs(other))
    return type(left) is type(right) and left == right


def _told(where: str, left: Any, right: Any, sides: Sides) -> str:
    shown = [text if len(text) < 80 else text[:77] + "..." for text in map(repr, (left, right))]
    return f"{where} is {shown[0]} from {sides[0]}, {shown[1]} from {sides[1]}"
