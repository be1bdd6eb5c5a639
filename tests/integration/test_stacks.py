"""Stacks from the package index whose libraries and modules are awkward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ended, layerpack
from tests.support.recipes import minimal

pytestmark = pytest.mark.recipe

NUMBA = """\
import numba, numpy


@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for index in numba.prange(len(values)):
        result += values[index]
    return result


def handler(event, context):
    return [total(numpy.arange(1000.0)), numba.threading_layer()]
"""
FIONA = """\
import fiona


def handler(event, context):
    schema = {"geometry": "Point", "properties": {"name": "str"}}
    point = {"geometry": {"type": "Point", "coordinates": (1.0, 2.0)}, "properties": {"name": "a"}}
    with fiona.open("/tmp/x.gpx", "w", driver="GPX", schema=schema) as written:
        written.write(point)
    with fiona.open("/tmp/x.gpx") as read:
        return [one["geometry"]["coordinates"] for one in read]
"""


def built(folder: Path, requirements: list[str], handler: str) -> tuple[Ended, dict[str, Any]]:
    """A verified build, and what its first workload answered (empty for a build that failed)."""
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(handler)
    (folder / "ask.json").write_text("{}")
    more = (
        "function: {source: code, handler: app.handler}\n"
        "workloads: [{name: ask, event: ask.json}]\n"
    )
    minimal(folder, requirements=requirements, more=more)
    extra = {"LAYERPACK_VERIFY": "1"}
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=folder / "cache", extra=extra)
    answers = folder / "build/small/answers.json"
    return ended, json.loads(answers.read_text()) if answers.exists() else {}


@pytest.mark.parametrize(("also", "layer"), [([], "omp"), (["tbb"], "tbb")])
def test_numba_builds_with_and_without_tbb(tmp_path: Path, also: list[str], layer: str) -> None:
    ended, answers = built(tmp_path, ["numba", *also], NUMBA)
    assert ended.code == 0, ended.errors
    assert json.loads(answers["workloads"][0]["answer"]) == [499500.0, layer]
    assert ("libtbb.so.12 is missing" in ended.errors) == (not also)


def test_fiona_gets_expat_from_a_wheel(tmp_path: Path) -> None:
    ended, answers = built(tmp_path, ["fiona"], FIONA)
    assert ended.code == 0, ended.errors
    assert json.loads(answers["workloads"][0]["answer"]) == [[1.0, 2.0]]
    assert "bundled libexpat.so.1 from fiona" in ended.errors


def test_python_magic_is_refused_without_its_library(tmp_path: Path) -> None:
    handler = "import magic\n\ndef handler(event, context): return magic.from_buffer(b'%PDF-1.4')\n"
    ended, _ = built(tmp_path, ["python-magic"], handler)
    assert ended.code == 7
    assert "libmagic" in ended.errors
