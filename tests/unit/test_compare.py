"""Two answers: equal, within a tolerance, or different, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from layerpack.compare import difference


def compared(plain: Any, packed: Any, tolerance: float = 0.0) -> str | None:
    """The difference of two values."""
    return difference(json.dumps(plain).encode(), json.dumps(packed).encode(), tolerance)


@pytest.mark.parametrize(
    ("plain", "packed", "tolerance"),
    [
        ({"a": [1, 2.5, None, True]}, {"a": [1, 2.5, None, True]}, 0.0),
        # The order of keys is none of JSON's.
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 0.0),
        (1.0, 1.0 + 1e-7, 1e-6),
        # Relative to the larger one; absolutely below 1.
        (1e6, 1e6 + 0.5, 1e-6),
        (1e-9, 2e-9, 1e-6),
        (float("nan"), float("nan"), 0.0),
        # A body is JSON within JSON.
        ({"body": '{"x": 1.0}'}, {"body": '{"x": 1.0000001}'}, 1e-6),
    ],
)
def test_these_are_the_same(plain: Any, packed: Any, tolerance: float) -> None:
    assert compared(plain, packed, tolerance) is None


@pytest.mark.parametrize(
    ("plain", "packed", "told"),
    [
        (1.0, 1.1, "answer is 1.0 from the plain install, 1.1 from the layers"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "answer.a[1].b is 2 from"),
        ({"a": 1}, {}, "answer.a is there from the plain install alone"),
        ([1], [1, 2], "answer has 1 items from the plain install, 2 from the layers"),
        # Whole numbers are counts and names: no tolerance.
        (1000000, 1000001, "answer is 1000000"),
        (True, 1, "answer is True"),
        ("a", "b", "answer is 'a'"),
        (float("nan"), 1.0, "answer is nan"),
        ({"body": '{"x": 1.0}'}, {"body": '{"x": 2.0}'}, "answer.body.x is 1.0"),
        # What is as large as can be is within no tolerance of anything.
        (float("inf"), 1.0, "answer is inf"),
        (float("inf"), float("-inf"), "answer is inf"),
        (10**400, 1.0, "answer is 1000"),
        # Texts that are numbers are texts.
        ("3.10", "3.1", "answer is '3.10'"),
        ("true", " true", "answer is 'true'"),
    ],
)
def test_these_are_not(plain: Any, packed: Any, told: str) -> None:
    found = compared(plain, packed, 1e-6)
    assert found is not None and found.startswith(told)


def test_answers_may_be_nested_as_deep_as_they_like() -> None:
    one, other = ("[" * 100_000 + inner + "]" * 100_000 for inner in ("1", "2"))
    found = difference(one.encode(), other.encode(), 0.0)
    assert found == "the answers differ, and are nested too deep to tell where"


def test_what_is_no_json_is_equal_or_not() -> None:
    assert difference(b"x", b"x", 0.0) is None
    assert difference(b"x", b"y", 0.0) == "the answers differ, and are not JSON"
