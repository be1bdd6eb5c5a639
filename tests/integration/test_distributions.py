"""layerpack's own distributions: what building them needs, and what they carry."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from layerpack.elf.pager import PAGER_SONAME, build, pager_file
from tests.support.wheels import sha256

ROOT = Path(__file__).parents[2]
PAGER = ROOT / "layerpack/elf/pager"
DOWNLOADS = ["pip", "packaging", "setuptools"]


def module_in(folder: Path) -> ModuleType:
    """The pager's build.py, with its sources, in another folder."""
    for path in PAGER.iterdir():
        if path.suffix in {".py", ".c", ".h", ".map"}:
            shutil.copy(path, folder)
    spec = importlib.util.spec_from_file_location("pager_build_elsewhere", folder / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(requirements: list[str]) -> list[str]:
    """The distributions that requirements name."""
    return [text.partition("=")[0].partition(">")[0] for text in requirements]


def test_a_pager_that_is_built_needs_no_compiler_and_no_download() -> None:
    assert build.requirements() == []
    assert names(build.requirements(sdist=True)) == DOWNLOADS


@pytest.mark.parametrize("archive", ["absent", "damaged"])
def test_a_pager_that_is_not_built_needs_both(tmp_path: Path, archive: str) -> None:
    module = module_in(tmp_path)
    if archive == "damaged":
        (tmp_path / f"zstandard-{build.ZSTANDARD}.tar.gz").write_bytes(b"no archive")
    assert names(module.requirements()) == ["ziglang", *DOWNLOADS]
    shutil.copytree(PAGER / "lib", tmp_path / "lib")
    assert module.requirements() == []
    (tmp_path / "lib/x86_64" / PAGER_SONAME).write_bytes(b"no library")
    assert f"ziglang=={build.ZIG}" in module.requirements()


@pytest.mark.exhaustive
def test_the_compiler_gets_no_headers_by_the_callers_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_in(tmp_path)
    for source in tmp_path.glob("*.c"):
        source.unlink()
    (tmp_path / "one.c").write_text('#include "zstd.c"\n')
    pinned = tmp_path / f"zstandard-{build.ZSTANDARD}/zstd/zstd.c"
    pinned.parent.mkdir(parents=True)
    pinned.write_text("int pinned(void) { return 1; }\n")
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow/zstd.c").write_text("#error the decoder is shadowed\n")
    monkeypatch.setenv("CPATH", str(tmp_path / "shadow"))
    assert module._compile(tmp_path, "x86_64").is_file()


@pytest.mark.exhaustive
def test_a_wheel_is_built_from_the_source_distribution_without_an_index(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path / "dist")]
    subprocess.run([*command, "--target", "sdist"], cwd=ROOT, check=True)
    # Nothing else lies there, to be uploaded with it.
    (sdist,) = (tmp_path / "dist").iterdir()
    archive = f"layerpack/elf/pager/zstandard-{build.ZSTANDARD}.tar.gz"
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (tree,) = (tmp_path / "unpacked").iterdir()
    assert sha256(tree / archive) == build.ZSTANDARD_SHA256
    assert not (tree / "layerpack/elf/pager/lib").exists()

    # The build requirements are those of the tests, in this interpreter.
    options = ["--no-index", "--no-deps", "--no-build-isolation"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-w", str(tmp_path / "wheels"), sdist],
        env={**variables, "PIP_CONFIG_FILE": os.devnull},
        check=True,
    )
    (wheel,) = (tmp_path / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as opened_wheel:
        for machine in ("x86_64", "aarch64"):
            # The same sources give the same bytes everywhere.
            member = opened_wheel.read(f"layerpack/elf/pager/lib/{machine}/{PAGER_SONAME}")
            assert member == pager_file(machine).read_bytes()
        assert not [name for name in opened_wheel.namelist() if "zstandard-" in name]
