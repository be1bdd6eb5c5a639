"""A module whose read-only data is stored compressed, from a wheel to an import of the layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerpack.passes.api import RESERVE
from tests.integration.test_paged import run, unzipped
from tests.support.code import ANSWER, CODE_NAME, CODE_PATH, code_wheel
from tests.support.command import layerpack
from tests.support.data import noise
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal

#: Handed to the kernel when the module is loaded: the import fails where that does.
_USER = """
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], noise, 60000) != 60000) abort();
    close(ends[0]); close(ends[1]);
}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return code_wheel(tmp_path_factory.mktemp("wheel"), more=noise(2000) + _USER)


def _file(build: Path) -> tuple[dict[str, Any], str, int]:
    """The module's record and the reason for it, and the bytes of all files."""
    inventory = json.loads((build / "files.json").read_text())
    (remark,) = (
        one
        for one in inventory["remarks"]
        if one["path"] == CODE_PATH and one["pass_name"] == "paged"
    )
    (file,) = (one for one in inventory["files"] if one["path"] == CODE_PATH)
    return file["paged"], remark["reason"], sum(one["size"] for one in inventory["files"])


@pytest.mark.exhaustive
def test_data_is_packed_where_the_layers_would_not_fit_otherwise(
    tmp_path: Path, index: LocalIndex, wheel: Path
) -> None:
    index.add(wheel)
    model, cache = tmp_path / "model.bin", tmp_path / "cache"
    more = "assets: [{name: model, file: model.bin}]\nstrip: {bytecode: none}\n"
    minimal(
        tmp_path, runtime=HERE, index=index.url, more=f"{more}native: {{store: paged, level: 3}}\n"
    )
    build = tmp_path / "build/small"

    def built(model_bytes: int) -> tuple[dict[str, Any], str, int]:
        with model.open("wb") as stream:
            stream.truncate(model_bytes)
        ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
        assert ended.code == 0, ended.errors
        return _file(build)

    # The module has 2 MB of data.
    fitting, reason, size = built(258_000_000)
    assert fitting["data_bytes"] == 0 and "read-only data" not in reason
    room = 262_144_000 - RESERVE - size
    assert room > 0
    data, reason, _ = built(258_000_000 + room + 100_000)
    assert data["data_bytes"] > 1_900_000
    assert reason.endswith(
        "its read-only data, too, is compressed, and decompressed at load: "
        "the layers would not fit otherwise"
    )
    assert data["mapped_bytes"] < fitting["mapped_bytes"] - 1_900_000
    assert run(unzipped(build, tmp_path / "opt"), search=True) == [ANSWER, True]
    told = layerpack("explain", CODE_NAME, "--build", "build/small", folder=tmp_path, cache=cache)
    assert "of read-only data are compressed to" in " ".join(told.output.split())
