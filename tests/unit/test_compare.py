"""Two answers: equal, within a tolerance, or different, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from layerpack.compare import Differences, differences, unmatched


def compared(plain: Any, packed: Any, tolerance: float = 0.0, *ignore: str) -> Differences:
    """The differences of two values."""
    texts = (json.dumps(plain).encode(), json.dumps(packed).encode())
    return differences(*texts, tolerance, ignore=ignore)


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
    assert not compared(plain, packed, tolerance)


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
    assert compared(plain, packed, 1e-6).text.startswith(told)


def test_answers_may_be_nested_as_deep_as_they_like() -> None:
    one, other = ("[" * 100_000 + inner + "]" * 100_000 for inner in ("1", "2"))
    found = differences(one.encode(), other.encode(), 0.0)
    assert found.text == "the answers differ, and are nested too deep to tell where"


def test_what_is_no_json_is_equal_or_not() -> None:
    assert not differences(b"x", b"x", 0.0)
    assert differences(b"x", b"y", 0.0).text == "the answers differ, and are not JSON"


def test_all_fields_that_differ_are_named_up_to_ten() -> None:
    plain = {"a": 1, "b": [1, 2], "c": {"d": "x"}}
    found = compared(plain, {"a": 2, "b": [1, 3], "c": {"d": "y"}})
    assert [one.path for one in found.shown] == [("a",), ("b", 1), ("c", "d")]
    assert found.text.splitlines()[0] == "3 fields differ:" and found.more == 0
    found = compared(list(range(25)), list(range(1, 26)))
    assert (len(found.shown), found.more) == (10, 15)
    assert found.text.endswith("and 15 more")


@pytest.mark.parametrize(
    ("plain", "packed", "ignore"),
    [
        ({"a": 1, "took_ms": 5}, {"a": 1, "took_ms": 6}, ["took_ms"]),
        ({"a": 1, "took_ms": 5}, {"a": 1}, ["took_ms"]),
        ({"rows": [{"id": 1}, {"id": 2}]}, {"rows": [{"id": 3}, {"id": 4}]}, ["rows.*.id"]),
        ({"rows": [1, 2]}, {"rows": [1, 3]}, ["rows.1"]),
        ({"rows": [1, 2]}, {"rows": [3, 4]}, ["rows"]),
        ({"x": {"id": 1}, "y": {"id": 1}}, {"x": {"id": 2}, "y": {"id": 3}}, ["*.id"]),
        # The body of an HTTP answer is a text that holds JSON.
        ({"body": '{"id": 1, "a": 2}'}, {"body": '{"id": 9, "a": 2}'}, ["body.id"]),
        ({"body": '[{"id": 1}]'}, {"body": '[{"id": 9}]'}, ["body.*.id"]),
        ({"h": {"x.y": 1, "z": 2}}, {"h": {"x.y": 3, "z": 2}}, ["h.x.y"]),
        ({"body": '{"id":1,"a":2}'}, {"body": '{"a":2}'}, ["body.id"]),
        ([{"id": 1}, 5], [{"id": 2}, 6], ["0.id", "1"]),
        ({"a": {"b": None}}, {"a": {"b": 1}}, ["a.b"]),
    ],
)
def test_fields_that_differ_by_design_are_ignored(
    plain: Any, packed: Any, ignore: list[str]
) -> None:
    assert compared(plain, packed)
    assert not compared(plain, packed, 0.0, *ignore)


def test_other_fields_count_where_some_are_ignored() -> None:
    plain, packed = {"body": '{"id": 1, "a": 2}'}, {"body": '{"id": 9, "a": 3}'}
    found = compared(plain, packed, 0.0, "body.id")
    assert [one.path for one in found.shown] == [("body", "a")]
    # A list's length is no item of it.
    assert compared({"rows": [1]}, {"rows": [1, 2]}, 0.0, "rows.*")


def test_a_text_that_holds_json_is_no_object_where_a_field_is_ignored() -> None:
    assert compared({"a": '{"x":1}'}, {"a": {"x": 1}}, 0.0, "a.x")
    assert compared({"a": '{"x":1}'}, {"a": {}}, 0.0, "a.x")


def test_what_to_ignore_is_suggested() -> None:
    found = compared({"rows": [{"id": 1}, {"id": 2}], "t": 1}, {"rows": [{"id": 3}, {"id": 4}]})
    assert found.ignore == ("t", "rows.*.id")
    assert compared(1, 2).ignore == ()


def test_paths_that_name_nothing_are_found() -> None:
    answers = [b'{"rows": [{"id": 1}]}', b'{"body": "{\\"took\\": 1}"}', b"3"]
    ignore = ["rows.*.id", "body.took", "rows.id", "gone", "rows.0.id.x"]
    assert unmatched(ignore, answers) == ("rows.id", "gone", "rows.0.id.x")
