"""What reports say of a proof, from records of this version and of older ones."""

from __future__ import annotations

from typing import Any

import pytest

from layerpack.plain_run import NOT_ISOLATED, UNJUDGED
from layerpack.report.proof import baseline_line, proof_line, start_times
from layerpack.verification import unproven

NUMBERS = {"init_ms": 1.0, "first_ms": 2.0, "second_ms": 3.0, "memory_mb": 40, "read_mb": 5.0}
#: As builds recorded it before there were baselines and fields to ignore.
OLD: dict[str, Any] = {
    "state": "verified",
    "isolation": "namespaces",
    "python": "3.12.1",
    "modules": 3,
    "not_importable": {"broken": "ImportError: no"},
    "workloads": [{"name": "ask", "equal": True, "packed": NUMBERS, "plain": NUMBERS}],
    "levels": [{"level": "avx2", "state": "verified", "variables": {}, "equal": True}],
    "imports": [],
    "memory": [],
}
MEASURED = {"processor": "AMD EPYC", "python": "3.12.1", "date": "2026-11-30"}
WORKLOAD = {**OLD["workloads"][0], "plain_compiled": NUMBERS}
NEW = {
    **OLD,
    "function": True,
    "ignored": ["took_ms", "rows.*.id"],
    "baseline": MEASURED,
    "workloads": [WORKLOAD, {**OLD["workloads"][0], "name": "more"}],
}


def test_records_of_older_versions_are_read() -> None:
    assert proof_line(OLD) == (
        "verified: 2 modules import (1 do not, nor do they in a plain install); 1 workload answers "
        "as in a plain install; at avx2"
    )
    assert baseline_line(OLD) == ""
    assert [one.tree for one in start_times(OLD)] == ["layers", "plain install"]


def test_the_baseline_is_named() -> None:
    assert baseline_line(NEW) == (
        "plain install: without bytecode, measured on AMD EPYC, Python 3.12.1, 2026-11-30"
    )
    assert [(one.workload, one.tree) for one in start_times(NEW)] == [
        *(("ask", "layers"), ("ask", "plain install"), ("ask", "plain, bytecode")),
        *(("more", "layers"), ("more", "plain install")),
    ]
    assert "answer as in a plain install, but for took_ms, rows.*.id" in proof_line(NEW)
    assert "; the function imports; at avx2" in proof_line({**NEW, "workloads": []})


def test_the_line_says_where_mapped_files_were_not_judged() -> None:
    record = {**NEW, "workloads": [], "unjudged": "the processor is emulated"}
    assert "origins of libraries not checked (the processor is emulated)" in proof_line(record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (OLD, ""),
        (NEW, ""),
        ({}, "it was built without"),
        ({"state": "not verified", "reason": "--no-verify"}, "--no-verify"),
        (
            {**OLD, "levels": [{"level": "avx512", "state": "not verified", "reason": "no avx"}]},
            "at avx512: no avx",
        ),
        ({**OLD, "isolation": "process"}, NOT_ISOLATED),
        ({**OLD, "unjudged": "an emulator"}, f"{UNJUDGED}: an emulator"),
    ],
)
def test_what_is_not_proven_has_a_reason(record: dict[str, Any], reason: str) -> None:
    assert unproven(record) == reason
