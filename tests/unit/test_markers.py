"""Tests that need more than the README's command installs: deselected there, and run by CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_marker_is_deselected_by_default_run_by_ci_and_documented(
    pytestconfig: pytest.Config,
) -> None:
    ours = pytestconfig.inipath
    assert ours is not None
    text = ours.read_text()
    (declared,) = re.findall(r"^markers = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    markers = sorted(re.findall(r'^    "(\w+):', declared, re.MULTILINE))
    (deselected,) = re.findall(r"-m 'not \((.*)\)'", text)
    assert sorted(deselected.split(" or ")) == markers
    run = re.findall(r"pytest (?:-n \d+ )?-m (\w+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert sorted(run) == markers
    described = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs/development.md").read_text(), re.MULTILINE
    )
    assert set(described) >= set(markers)
