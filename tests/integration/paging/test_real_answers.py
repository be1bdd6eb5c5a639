"""Wheels of the index, plain and packed: every answer is the same to the bit.

A fast part of `benchmarks/differential.py`, which runs the projects' own test suites too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.stacks.results import MARK
from benchmarks.stacks.table import STACKS
from tests.support.packed_trees import PYTHON, Packed, install, packed_twin

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).parents[3]
#: How many checks there are at least, and how many of them are exceptions; then arguments.
CHECKS: dict[str, tuple[int | str, ...]] = {
    "numpy_bits": (290, 1),
    "sklearn_bits": (50, 0),
    "lightgbm_bits": (1, 0, "gbdt b"),
    "pydantic_checks": (5000, 6),
}


@dataclass(frozen=True, kw_only=True)
class Trees:
    """The same distributions twice, and what became of the libraries of the second."""

    plain: Path
    packed: Path
    libraries: Sequence[Packed]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    home = tmp_path_factory.mktemp("trees")
    # pytest and hypothesis are among the requirements of stacks whose suites are run.
    requirements = {
        one
        for name in ("numpy", "sklearn", "lightgbm", "pydantic")
        for one in STACKS[name].requirements
        if "==" in one
    }
    plain = install(home / "plain", sorted(requirements))
    libraries = packed_twin(plain, home / "packed")
    return Trees(plain=plain, packed=home / "packed", libraries=libraries)


def answers(tree: Path, folder: Path, module: str, *arguments: str) -> dict[str, str]:
    """What a module of `benchmarks.stacks` finds in an interpreter of its own."""
    folder.mkdir()
    path = folder / "results.jsonl"
    subprocess.run(
        [PYTHON, "-S", "-s", "-m", f"benchmarks.stacks.{module}", path, *arguments],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": os.pathsep.join((str(tree), str(ROOT))),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "2",
            # Threads that wait are to sleep: the processors may have other work.
            "OPENBLAS_THREAD_TIMEOUT": "4",
            "OMP_WAIT_POLICY": "passive",
        },
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    values = [json.loads(line) for line in path.read_text().splitlines()]
    return {value["id"]: value["outcome"] for value in values}


@pytest.mark.parametrize("module", CHECKS)
def test_answers_are_equal(trees: Trees, tmp_path: Path, module: str) -> None:
    fewest, errors, *arguments = CHECKS[module]
    # One after the other: threads of OpenBLAS that share a processor wait for each other for long.
    plain, packed = (
        answers(tree, tmp_path / tree.name, module, *map(str, arguments))
        for tree in (trees.plain, trees.packed)
    )
    assert len(plain) >= int(fewest)
    assert sum(outcome.startswith(MARK) for outcome in plain.values()) == errors
    assert packed == plain


def test_most_libraries_are_packed_to_less_than_half(trees: Trees) -> None:
    packed = [one for one in trees.libraries if one.reason is None]
    assert {one.path.partition("/")[0] for one in packed} >= {
        *("numpy", "numpy.libs", "scipy", "scipy.libs", "sklearn", "lightgbm", "pydantic_core"),
    }
    before = sum(one.original_bytes for one in trees.libraries)
    after = sum(one.packed_bytes for one in trees.libraries)
    # At zstd's level 3, which is fast; builds have 16 unless told.
    assert after < before / 2
    for one in trees.libraries:
        twin = (trees.packed / one.path).read_bytes()
        same = twin == (trees.plain / one.path).read_bytes()
        assert same == (one.reason is not None and "through the pager" not in one.reason), one
