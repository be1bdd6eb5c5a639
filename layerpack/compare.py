"""How two answers of a function differ."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

#: Who gave the two answers, for the sentences that tell their difference.
Sides = tuple[str, str]
BUILT: Final[Sides] = ("the plain install", "the layers")
#: In errors: requests' identifiers, and addresses.
_CHANGING: Final = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b0x[0-9a-f]+\b")
#: Further ones are counted.
_MOST_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One difference: a sentence, and the names that lead to the field (None where it is no field,
    but an error, say). `note` is shown below an error, and is no part of what tells it from others.
    """

    text: str
    path: tuple[str | int, ...] | None = None
    note: str = ""

    @property
    def key(self) -> object:
        """Equal for two differences that are the same one, whatever the values."""
        return _CHANGING.sub("", self.text) if self.path is None else self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """All differences of two answers; false where there is none. `more` counts those beyond the
    ones shown."""

    shown: tuple[Difference, ...] = ()
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.shown)

    @property
    def text(self) -> str:
        """All that are shown: one sentence, or a line for each."""
        if len(self.shown) < 2:
            return "".join(one.text + one.note for one in self.shown)
        lines = [f"{len(self.shown) + self.more} fields differ:", *(x.text for x in self.shown)]
        return "\n  ".join(lines + ([f"and {self.more} more"] if self.more else []))

    @property
    def keys(self) -> frozenset[object]:
        """What tells those that are shown from others."""
        return frozenset(one.key for one in self.shown)

    @property
    def ignore(self) -> tuple[str, ...]:
        """What `verify.ignore` takes to ignore those that are shown."""
        paths = [["*" if isinstance(x, int) else x for x in one.path or ()] for one in self.shown]
        return tuple(dict.fromkeys(".".join(path) for path in paths if path))


def only(text: str, note: str = "") -> Differences:
    """One difference that is no field's, such as an error."""
    return Differences(shown=(Difference(text=text, note=note),))


def differences(
    plain: bytes,
    packed: bytes,
    tolerance: float,
    *,
    ignore: Sequence[str] = (),
    sides: Sides = BUILT,
) -> Differences:
    """Where two answers (JSON) differ, and how.

    Numbers may differ by `tolerance`, relative to the larger one (and to 1, where both are
    smaller), unless both are whole. Texts that hold JSON's objects or lists, as bodies of HTTP
    answers do, are compared as such. Fields that `ignore` names (`results.*.id`) are left out.
    """
    if plain == packed:
        return Differences()
    try:
        values = [json.loads(one) for one in (plain, packed)]
        for path in ignore:
            values = [_without(value, path.split("."))[0] for value in values]
        found = _Comparison(tolerance, sides).of((), *values)
        return Differences(shown=tuple(islice(found, _MOST_SHOWN)), more=sum(1 for _ in found))
    except ValueError:
        return only("the answers differ, and are not JSON")
    except RecursionError:
        return only("the answers differ, and are nested too deep to tell where")


def unmatched(ignore: Sequence[str], answers: Sequence[bytes]) -> tuple[str, ...]:
    """The paths of `ignore` that name no field of any answer (JSON)."""
    try:
        values = [json.loads(one) for one in answers]
        return tuple(
            path for path in ignore if not any(_without(x, path.split("."))[1] for x in values)
        )
    except (ValueError, RecursionError):
        return ()


def _without(value: Any, names: Sequence[str]) -> tuple[Any, bool]:
    """A value without the field that `names` lead to, and whether there is one. `*` stands for any
    one name or number; a name may have dots. The value is changed."""
    if isinstance(value, str):
        inner = _structure(value)
        changed, found = (value, False) if inner is None else _without(inner, names)
        # A text stays one: only another text may be equal to it.
        return (json.dumps(changed), True) if found else (value, False)
    if isinstance(value, dict):
        keys = dict.fromkeys(value, 1) if names[0] == "*" else _named(value, names)
    elif isinstance(value, list):
        keys = {str(number): 1 for number in range(len(value)) if names[0] in ("*", str(number))}
    else:
        return value, False
    any_found = False
    for key, count in keys.items():
        place: Any = int(key) if isinstance(value, list) else key
        rest = names[count:]
        if rest:
            value[place], found = _without(value[place], rest)
            any_found |= found
        else:
            any_found = True
            # A list's other items stay where they are.
            if isinstance(value, list):
                value[place] = None
            else:
                del value[place]
    return value, any_found


def _named(value: dict[str, Any], names: Sequence[str]) -> dict[str, int]:
    """The keys that `names` may begin with, each with how many of them it takes."""
    joined = {".".join(names[:count]): count for count in range(1, len(names) + 1)}
    return {key: count for key, count in joined.items() if key in value}


@dataclass(frozen=True, slots=True)
class _Comparison:
    tolerance: float
    sides: Sides = field(default=BUILT)

    def of(self, path: tuple[str | int, ...], left: Any, right: Any) -> Iterator[Difference]:
        if isinstance(left, dict) and isinstance(right, dict):
            yield from self._objects(path, left, right)
        elif isinstance(left, list) and isinstance(right, list):
            yield from self._lists(path, left, right)
        elif isinstance(left, str) and isinstance(right, str) and left != right:
            values = _structure(left), _structure(right)
            if None in values:
                yield self._told(path, left, right)
            else:
                yield from self.of(path, *values)
        elif not _same(left, right, self.tolerance):
            yield self._told(path, left, right)

    def _objects(
        self, path: tuple[str | int, ...], left: dict[str, Any], right: dict[str, Any]
    ) -> Iterator[Difference]:
        for name in sorted(left.keys() ^ right.keys()):
            side = self.sides[0] if name in left else self.sides[1]
            where = (*path, name)
            yield Difference(path=where, text=f"{_shown(where)} is there from {side} alone")
        for name in sorted(left.keys() & right.keys()):
            yield from self.of((*path, name), left[name], right[name])

    def _lists(
        self, path: tuple[str | int, ...], left: list[Any], right: list[Any]
    ) -> Iterator[Difference]:
        if len(left) != len(right):
            counts = f"{len(left)} items from {self.sides[0]}, {len(right)} from {self.sides[1]}"
            yield Difference(path=path, text=f"{_shown(path)} has {counts}")
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            yield from self.of((*path, number), one, other)

    def _told(self, path: tuple[str | int, ...], left: Any, right: Any) -> Difference:
        cut = [text if len(text) < 80 else text[:77] + "..." for text in map(repr, (left, right))]
        text = f"{cut[0]} from {self.sides[0]}, {cut[1]} from {self.sides[1]}"
        return Difference(path=path, text=f"{_shown(path)} is {text}")


def _shown(path: tuple[str | int, ...]) -> str:
    return "answer" + "".join(f"[{x}]" if isinstance(x, int) else f".{x}" for x in path)


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
