"""numpy's wheel without kernels for other processors: what runs, and that its answers are those of
the plain wheel held to the same level, to the bit.

A fast part of `benchmarks/differential.py --cpu`. For `avx2` the processor must have AVX2.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from layerpack.kernels import Found, find_drops, has_kernels
from layerpack.payload import is_library_name
from layerpack.processor_levels import Level, variables
from tests.support.packed_trees import PYTHON, install, packed_twin
from tests.support.real_wheels import download

pytestmark = pytest.mark.recipe

_ROOT: Final = Path(__file__).parents[2]
_NUMPY: Final = "numpy==2.4.6"
#: What runs, and what the processor has, as the libraries themselves tell.
_TOLD: Final = """
import ctypes, json, pathlib, numpy
from numpy._core import _multiarray_umath, _simd
from numpy.lib import introspect
(path,) = pathlib.Path(numpy.__file__).parents[1].glob("numpy.libs/*openblas*")
core = ctypes.CDLL(str(path)).scipy_openblas_get_corename64_
core.restype = ctypes.c_char_p
loops = {
    f"{name} {signature}": told["current"]
    for name, every in introspect.opt_func_info().items()
    for signature, told in every.items()
}
simd = [name for name, module in _simd.targets.items() if module is not None]
has = [name for name, there in _multiarray_umath.__cpu_features__.items() if there]
print(json.dumps({"core": core().decode(), "loops": loops, "simd": simd, "has": has}))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("kernels") / "plain", [_NUMPY])


def _run(tree: Path, *arguments: str | Path, held: Mapping[str, str]) -> str:
    """What an interpreter of its own prints."""
    own = ("PYTHON", "OPENBLAS", "NPY")
    return subprocess.run(
        [PYTHON, "-S", "-s", "-B", *arguments],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(own)},
            "PYTHONPATH": os.pathsep.join((str(tree), str(_ROOT))),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            **held,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=300,
    ).stdout


def _told(tree: Path, **held: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_run(tree, "-c", _TOLD, held=held))
    return told


def _answers(tree: Path, results: Path, **held: str) -> dict[str, str]:
    """Linear algebra, loops over elements, sums and sorts of numpy, by what they are."""
    _run(tree, "-m", "benchmarks.stacks.numpy_bits", results, held=held)
    values = [json.loads(line) for line in results.read_text().splitlines()]
    return {value["id"]: value["outcome"] for value in values}


@pytest.mark.parametrize(
    ("level", "core", "simd"),
    [
        ("avx2", "Haswell", ["X86_V3", "baseline"]),
        # One name for it and what OpenBLAS calls Prescott (its driver/others/dynamic.c).
        ("baseline", "Katmai", ["baseline"]),
    ],
)
def test_what_is_kept_is_what_runs_and_answers(
    plain: Path, tmp_path: Path, level: Level, core: str, simd: list[str]
) -> None:
    warnings: list[str] = []
    libraries = packed_twin(plain, tmp_path / "packed", cpu=[level], warn=warnings.append)
    gone = {one.path.partition(".")[0]: one.record.dropped_bytes for one in libraries if one.record}
    assert gone["numpy/_core/_multiarray_umath"] > 1_000_000
    assert gone["numpy"] > 5_000_000
    assert not any("kernels all stay" in text for text in warnings), warnings
    held = variables(level, (one for one in plain.rglob("*") if is_library_name(one.name)))
    as_it_is, as_held, packed = (
        _told(plain),
        _told(plain, **held),
        _told(tmp_path / "packed"),
    )
    assert (packed["core"], packed["simd"]) == (core, simd)
    assert {**packed, "has": as_held["has"]} == as_held
    # What the processor has is told as it is.
    assert packed["has"] == as_it_is["has"]
    expected = _answers(plain, tmp_path / "held.jsonl", **held)
    assert len(expected) > 280
    assert _answers(tmp_path / "packed", tmp_path / "packed.jsonl") == expected
    if level == "baseline":
        other = _answers(plain, tmp_path / "plain.jsonl")
        assert sum(other[name] != outcome for name, outcome in expected.items()) > 30


def test_wheels_for_arm(tmp_path: Path) -> None:
    libraries = download(tmp_path, _NUMPY, machine="aarch64")
    found = {path.name.partition(".")[0]: path for path in libraries if has_kernels(path)}
    assert found.keys() > {"_multiarray_umath", "_simd"}
    for name, path in found.items():
        told = find_drops(path, ["neon"])
        # None of them is unknown, though numpy's own have nothing that goes.
        assert isinstance(told, Found), (name, told)
        assert told.left is None
        is_openblas = "openblas" in name
        assert bool(told.drops) == is_openblas
        if is_openblas:
            assert told.drops.size > 8_000_000
            assert {one.level for one in told.variants if one.kept} == {"neon"}
