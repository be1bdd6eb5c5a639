"""A pytest plugin that writes each test's outcome as it ends: `-p benchmarks.stacks.outcomes`.

The file is named by LAYERPACK_OUTCOMES. A line is `{"id": ..., "outcome": ...}`; a test that was
begun and has no such line is one in which the process died.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_reports: dict[str, list[str]] = {}


def _write(value: dict[str, Any]) -> None:
    with Path(os.environ["LAYERPACK_OUTCOMES"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(value) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note that a test has begun."""
    _write({"id": nodeid, "outcome": "begun"})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a phase of a test ended, unless it passed as most do."""
    outcome: str = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.skipped else "xpassed"
    if outcome != "passed":
        _reports.setdefault(report.nodeid, []).append(f"{outcome} in {report.when}")


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Write a test's outcome."""
    _write({"id": nodeid, "outcome": ", ".join(_reports.pop(nodeid, ["passed"]))})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write what could not be collected: its tests would be missed else."""
    if report.outcome != "passed":
        _write({"id": f"{report.nodeid} (collection)", "outcome": report.outcome})
