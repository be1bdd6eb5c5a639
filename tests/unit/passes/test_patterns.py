"""Globs of recipes, and those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.passes.patterns import matcher, unmatched
from layerpack.payload import Payload
from tests.support.recipes import payload_in

A, B, LIBRARY = "python/alpha/a.py", "python/alpha/deep/b.py", "lib/libx.so.1"


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    """Files of a distribution, and a library."""
    return payload_in(tmp_path, dict.fromkeys((A, B, LIBRARY), ""))


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("alpha", {A, B}),
        ("alpha/", {A, B}),
        ("alpha/a.py", {A}),
        ("python/alpha/a.py", {A}),
        ("/opt/python/alpha/deep", {B}),
        ("**/b.py", {B}),
        ("*.py", {A, B}),
        ("lib/libx*", {LIBRARY}),
        ("/opt/lib", {LIBRARY}),
        ("a.py", set()),
    ],
)
def test_paths_are_meant_as_in_the_layer_and_below_site_packages(
    payload: Payload, pattern: str, meant: set[str]
) -> None:
    means = matcher((pattern,))
    assert {entry.path for entry in payload if means(payload, entry.path)} == meant
    assert unmatched((pattern,), payload) == ([] if meant else [pattern])


def test_no_pattern_means_nothing(payload: Payload) -> None:
    assert not matcher(())(payload, A)
    assert unmatched((), payload) == []
    assert unmatched(("alpha", "beta", ""), payload) == ["beta", ""]
