"""Compiled modules whose code is stored compressed, from a wheel to an import of the layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from layerpack.elf.pager import PAGER_SONAME
from tests.support.code import ANSWER, CODE_NAME, CODE_PATH, code_wheel
from tests.support.command import layerpack
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alpha, with an extension module of much code."""
    return code_wheel(tmp_path_factory.mktemp("wheel"))


def unzipped(build: Path, root: Path) -> Path:
    """All layers of a build, merged as at /opt."""
    for layer in sorted(build.glob("layers/*.zip")):
        with zipfile.ZipFile(layer) as archive:
            archive.extractall(root)
    return root


def run(opt: Path, *, search: bool) -> list[object]:
    """What the module's code gives, and whether the pager is there."""
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1] + '/python'); import alpha._code\n"
        f"maps = open('/proc/self/maps').read()\n"
        f"print(json.dumps([alpha._code.run(), '/lib/{PAGER_SONAME}' in maps]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if search:
        environment["LD_LIBRARY_PATH"] = str(opt / "lib")
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(opt)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: list[object] = json.loads(ended.stdout)
    return found


def test_a_module_with_compressed_code_is_imported_from_the_layers(
    tmp_path: Path, index: LocalIndex, wheel: Path
) -> None:
    index.add(wheel)
    more = "native: {store: paged, level: 3}\n"
    recipe = minimal(tmp_path, runtime=HERE, index=index.url, more=more)
    cache = tmp_path / "cache"
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert ended.code == 0, ended.errors
    assert "Paged libraries" in ended.output
    build = tmp_path / "build/small"
    opt = unzipped(build, tmp_path / "opt")
    # As on Lambda; and elsewhere, by the path that the library has.
    assert run(opt, search=True) == [ANSWER, True]
    assert run(opt, search=False) == [ANSWER, True]

    # What the records say is what the files are.
    inventory = json.loads((build / "files.json").read_text())
    files = {file["path"]: file for file in inventory["files"]}
    assert files[CODE_PATH]["size"] == (opt / CODE_PATH).stat().st_size
    paged = files[CODE_PATH]["paged"]
    assert paged["original_bytes"] > 2 * files[CODE_PATH]["size"]
    assert paged["mapped_bytes"] + paged["compressed_bytes"] < files[CODE_PATH]["size"]
    assert [file["path"] for file in inventory["files"] if file["paged"]] == [CODE_PATH]
    assert "Redistribution" in "".join(p.read_text() for p in (opt / "licenses").iterdir())
    manifest = json.loads((build / "manifest.json").read_text())
    kinds = {one["name"]: (one["kind"], one["naive_bytes"]) for one in manifest["distributions"]}
    assert kinds["layerpack-pager"] == ("system", 0)
    report = layerpack(
        "size-report", "build/small", "--format", "json", folder=tmp_path, cache=cache
    )
    assert json.loads(report.output)["paged_total"]["size"] == files[CODE_PATH]["size"]
    told = layerpack("explain", CODE_NAME, "--build", "build/small", folder=tmp_path, cache=cache)
    assert "are brought in when they are touched" in told.output, told.errors

    # Built again for another reason, nothing is packed.
    kept = cache / "passes/paged"
    before = {path: path.stat().st_ino for path in kept.rglob("*")}
    recipe.write_text(recipe.read_text() + "description: another\n")
    again = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert "nothing changed" not in again.errors
    assert {path: path.stat().st_ino for path in kept.rglob("*")} == before


def test_a_build_fits_because_code_is_compressed(
    tmp_path: Path, index: LocalIndex, wheel: Path
) -> None:
    index.add(wheel)
    with (tmp_path / "model.bin").open("wb") as stream:
        stream.truncate(261_700_000)
    more = "assets: [{name: model, file: model.bin}]\nstrip: {bytecode: none}\n"
    more += "native: {level: 3}\n"
    minimal(tmp_path, runtime=HERE, index=index.url, more=more)
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0, ended.errors
    inventory = json.loads((tmp_path / "build/small/files.json").read_text())
    (remark,) = [
        one
        for one in inventory["remarks"]
        if one["path"] == CODE_PATH and one["pass_name"] == "paged"
    ]
    assert remark["reason"].endswith("the layers would not fit otherwise")
    # With the module as it was, and no pager, the layers would be over.
    files = {file["path"]: file["size"] for file in inventory["files"]}
    as_it_was = sum(files.values()) - files[f"lib/{PAGER_SONAME}"]
    as_it_was += remark["bytes_before"] - remark["bytes_after"]
    assert sum(files.values()) < 262_144_000 < as_it_was
