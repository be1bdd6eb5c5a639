"""What a recipe asks to leave out of libraries, where there is nothing to leave it out of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.passes.api import KEPT
from layerpack.passes.paged import Paged
from layerpack.passes.runner import run_passes
from tests.unit.passes.helpers import Tree, context_in, payload_of
from tests.unit.passes.paged_edits import PACKED

_OPERATORS = PACKED + "mxnet: {operators: [softmax]}\n"


def _warnings(folder: Path, tree: Tree, more: str) -> list[str]:
    told: list[str] = []
    context = replace(context_in(folder, more=more), warn=told.append)
    run_passes(payload_of(folder, tree), [Paged()], context)
    return told


def test_a_payload_without_mxnet_is_told(tmp_path: Path, large: Path) -> None:
    assert _warnings(tmp_path, {"alpha": {"alpha/_c.so": large}}, _OPERATORS) == [
        "mxnet.operators leaves nothing out: there is no MXNet among the distributions"
    ]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("strip: {keep: [mxnet/libmxnet.so]}\n", KEPT),
        ("keep-plain", "kept plain by native.keep-plain"),
    ],
)
def test_a_library_that_is_kept_is_told(tmp_path: Path, large: Path, more: str, why: str) -> None:
    if more == "keep-plain":
        recipe = _OPERATORS.replace("native: {", "native: {keep-plain: ['*/libmxnet.so'], ")
        assert recipe != _OPERATORS
    else:
        recipe = _OPERATORS + more
    (told,) = _warnings(tmp_path, {"mxnet": {"mxnet/libmxnet.so": large}}, recipe)
    assert told.startswith("python/mxnet/libmxnet.so: ")
    assert told.endswith(f": {why}")


def test_without_the_key_nothing_is_told(tmp_path: Path, large: Path) -> None:
    assert _warnings(tmp_path, {"mxnet": {"mxnet/libmxnet.so": large}}, PACKED) == []
