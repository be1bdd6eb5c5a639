"""pydantic-core (Rust): validation, serialisation, JSON and errors for many schemas."""

from __future__ import annotations

import datetime
import decimal
import enum
import importlib
import itertools
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from benchmarks.stacks.results import Results

#: Each is given to every type: most give errors, whose texts are results too.
INPUTS: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        1,
        -7,
        2**70,
        1.0,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "1",
        "-2.50",
        "x" * 50,
    ),
    *("true", "null", "[1, 2]", "1e400", "ünïcode", "2024-02-29", "2024-02-30", "2024-02-29T12:30"),
    *("12:30:15.5Z", "P3DT4H", "https://user@example.org:80/a?b#c", "postgres://h/d", "a@b.c"),
    *("12345678-1234-5678-1234-567812345678", "127.0.0.1/8", "::1", b"bytes", b"\xff\xfe", [], [1]),
    *([1, "2", 3.0], (1, 2), {1, 2}, frozenset({3}), {}, {"a": 1}, {"a": "x", "b": [1, 2]}, [[1]]),
    *({"kind": "cat", "lives": 9}, {"kind": "dog"}, datetime.date(2024, 2, 29), object, 1 + 2j),
    *(datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC), datetime.timedelta(seconds=90)),
    *(decimal.Decimal("1.10"), uuid.UUID(int=5), [{"a": 1}] * 3, list(range(200))),
)
JSON: tuple[bytes, ...] = (
    *(b"1", b'"x"', b"[1, 2.5, null, true]", b'{"a": 1, "b": [1, 2]}', b"{", b"[1,]", b"NaN"),
    *(b'"\\ud83d\\ude00"', b'"\\ud83d"', b"1e308", b"123456789012345678901234567890", b"\xff"),
    *(b"[" * 300 + b"]" * 300, b'{"a": {"a": {"a": 1}}}', b'{"kind": "cat", "lives": "9"}'),
)


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    pydantic: Any = importlib.import_module("pydantic")
    for name, type_ in _types(pydantic):
        adapter = pydantic.TypeAdapter(type_)
        for mode, data in itertools.product(("lax", "strict"), range(len(INPUTS))):
            strict = mode == "strict"
            results.check(
                f"{name} {mode} {data}", _validated, pydantic, adapter, INPUTS[data], strict
            )
        for number, text in enumerate(JSON):
            results.check(f"{name} json {number}", _json, pydantic, adapter, text)
        results.check(f"{name} schema", adapter.json_schema)
    core: Any = importlib.import_module("pydantic_core")
    for number, text in enumerate(JSON):
        results.check(f"from_json {number}", _parsed, core, text)
    for number, value in enumerate(INPUTS):
        results.check(f"to_json {number}", partial(core.to_json, value, serialize_unknown=True))
    results.check("many errors", _many_errors, pydantic)


def _validated(pydantic: Any, adapter: Any, value: Any, strict: bool) -> Any:
    try:
        valid = adapter.validate_python(value, strict=strict)
    except pydantic.ValidationError as error:
        return _shown(str(error))
    shown = _shown(repr(valid))
    return [shown, _shown(repr(adapter.dump_python(valid))), _dumped(adapter, valid)]


def _parsed(core: Any, text: bytes) -> str:
    return repr(core.from_json(text))


def _json(pydantic: Any, adapter: Any, text: bytes) -> Any:
    try:
        valid = adapter.validate_json(text)
    except pydantic.ValidationError as error:
        return [_shown(str(error)), error.json(include_url=False, include_input=False)]
    return [_shown(repr(valid)), _dumped(adapter, valid)]


def _dumped(adapter: Any, value: Any) -> Any:
    try:
        return adapter.dump_json(value)
    except Exception as error:
        return _shown(f"{type(error).__name__}: {error}")


def _shown(text: str) -> str:
    """Without addresses of objects, which differ from run to run."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", text)


def _many_errors(pydantic: Any) -> Any:
    adapter = pydantic.TypeAdapter(dict[str, list[int]])
    try:
        adapter.validate_python({f"key{n}": ["a", n, None] for n in range(500)})
    except pydantic.ValidationError as error:
        return [error.error_count(), str(error), error.json(include_url=False)]
    raise AssertionError("these are errors")


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"
    ONE = 1


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: float = 0.5


def _types(pydantic: Any) -> Iterator[tuple[str, Any]]:
    """Names and types; the models are made here, since pydantic is not there to be imported."""
    field, model = pydantic.Field, pydantic.create_model
    cat = model("Cat", kind=(Literal["cat"], ...), lives=(int, field(default=9, ge=0, le=9)))
    dog = model("Dog", kind=(Literal["dog"], ...), names=(list[str], []))
    nested = model("Nested", a=(int | str, ...), b=(list[float], [1.0]), __base__=None)
    forbid = pydantic.ConfigDict(extra="forbid", str_strip_whitespace=True)
    strict = model("Forbidding", __config__=forbid, a=(Annotated[str, field(max_length=3)], "x"))
    plain = (int, float, str, bytes, bool, complex, decimal.Decimal, uuid.UUID, type(None), Any)
    dates = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
    for type_ in (*plain, *dates, Colour, Point, nested, strict):
        yield getattr(type_, "__name__", str(type_)), type_
    yield from {
        "list": list[int],
        "tuple": tuple[int, str, float],
        "any tuple": tuple[int, ...],
        "set": set[int],
        "frozenset": frozenset[str],
        "dict": dict[str, int],
        "dict of lists": dict[str, list[int] | int | None],
        "union": int | str | list[float],
        "left to right": Annotated[int | float | str, field(union_mode="left_to_right")],
        "tagged": Annotated[cat | dog, field(discriminator="kind")],
        "literal": Literal["x", 1, True],
        "constrained int": Annotated[int, field(gt=0, multiple_of=3)],
        "constrained str": Annotated[str, field(pattern=r"^[a-z]+\d*$", min_length=1)],
        "constrained list": Annotated[list[int], field(min_length=1, max_length=3)],
        "decimal": Annotated[decimal.Decimal, field(max_digits=3, decimal_places=1)],
        "url": pydantic.AnyUrl,
        "dsn": pydantic.PostgresDsn,
        "json": pydantic.Json,
        "secret": pydantic.SecretStr,
        "past": pydantic.PastDate,
        "bytes size": pydantic.ByteSize,
        "list of models": list.__class_getitem__(nested),
        "base64": pydantic.Base64Bytes,
        "ip": importlib.import_module("ipaddress").IPv4Interface,
    }.items()


if __name__ == "__main__":
    main()
