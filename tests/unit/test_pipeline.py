"""What a build refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.pipeline import BuildOptions, build
from tests.support.recipes import minimal


def test_a_proof_that_is_both_required_and_left_out_is_told_with_a_way_out(
    tmp_path: Path, cache: Cache
) -> None:
    recipe = minimal(tmp_path, more="verify: {required: true}")
    with pytest.raises(VerificationError, match="--no-verify") as caught:
        build(recipe, BuildOptions(cache=cache, output=tmp_path / "build"), Events())
    assert "Leave out --no-verify" in caught.value.hint
    assert not cache.root.exists()
