"""`layerpack cache`, and what builds and it do to one another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command import layerpack, start
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel, sha256

# Where there is a pipe `hold`, it says so once that it runs, and waits for leave to go on.
PREPARE = """\
import sys
from pathlib import Path

hold, go = (Path(__file__).resolve().parents[1] / name for name in ("hold", "go"))
if hold.exists():
    hold.write_text("")
    hold.unlink()
    go.read_text()
Path(sys.argv[2], "model.txt").write_text("model")
"""


@pytest.fixture
def project(tmp_path: Path, index: LocalIndex) -> Path:
    """A recipe with an asset to prepare."""
    index.add(make_wheel(tmp_path / "w", "alpha"))
    folder = tmp_path / "project"
    more = "assets: [{name: model, prepare: prepare.py}]"
    minimal(folder, runtime=HERE, index=index.url, more=more)
    (folder / "prepare.py").write_text(PREPARE)
    return folder


def held(project: Path, cache: Path) -> subprocess.Popen[str]:
    """A build whose asset's script waits until something is written to the pipe `go`."""
    folder = project.parent
    for name in ("hold", "go"):
        os.mkfifo(folder / name)
    build = start("build", "recipe.yaml", folder=project, cache=cache)
    (folder / "hold").read_text()
    return build


def test_the_cache_is_shown_pruned_and_cleared_but_not_under_a_running_build(
    tmp_path: Path, project: Path
) -> None:
    cache = tmp_path / "cache"
    build = held(project, cache)
    before = {path for path in cache.rglob("*") if path.is_file()}
    for arguments in (("prune", "--size", "1"), ("clear", "--yes")):
        ended = layerpack("cache", *arguments, folder=project, cache=cache)
        assert (ended.code, ended.output) == (2, "")
        assert str(cache) in ended.errors
    assert {path for path in cache.rglob("*") if path.is_file()} == before
    (tmp_path / "go").write_text("")
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors

    told = json.loads(
        layerpack("cache", "info", "--format", "json", folder=project, cache=cache).output
    )
    assert (told["root"], told["limit_bytes"]) == (str(cache), 10**10)
    assert told["total_bytes"] == sum(kind["bytes"] for kind in told["kinds"]) > 0
    assert {"wheels", "unpacked", "assets"} <= {kind["kind"] for kind in told["kinds"]}
    shown = layerpack("cache", "info", folder=project, cache=cache)
    assert shown.code == 0
    assert "unpacked" in shown.output

    asked = layerpack("cache", "clear", folder=project, cache=cache)
    assert (asked.code, "--yes" in asked.errors) == (2, True)
    cleared = layerpack("cache", "clear", "--yes", "--format", "json", folder=project, cache=cache)
    assert json.loads(cleared.output)["left_bytes"] == 0
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {
        *("CACHEDIR.TAG", "layerpack-cache.json", "layerpack-cache.lock"),
    }

    zips = {path: sha256(path) for path in project.rglob("*.zip")}
    shutil.rmtree(project / "build")
    small = {"LAYERPACK_CACHE_SIZE": "1KB"}
    again = layerpack("build", "recipe.yaml", folder=project, cache=cache, extra=small)
    assert again.code == 0, again.errors
    assert {path: sha256(path) for path in project.rglob("*.zip")} == zips
    sizes = [path.stat().st_size for path in cache.rglob("*/*") if path.is_file()]
    assert sum(sizes) <= 1000


@pytest.mark.exhaustive
def test_a_command_that_fails_prunes_the_cache_too(tmp_path: Path, index: LocalIndex) -> None:
    folder, cache = tmp_path / "project", tmp_path / "cache"
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(folder, runtime=HERE, index=index.url)
    built = layerpack("build", "recipe.yaml", folder=folder, cache=cache)
    assert built.code == 0, built.errors
    minimal(folder, runtime=HERE, index=index.url, requirements=["alpha", "gone"])
    (folder / "event.json").write_text("{}")
    for code, *command in (
        (5, "build", "recipe.yaml", "--locked"),
        (5, "lock", "recipe.yaml"),
        (2, "verify", "recipe.yaml"),
        (2, "invoke", "build/small", "--event", "event.json"),
    ):
        old = cache / "choices" / f"{0:064}.json"
        old.write_text("{}")
        small = {"LAYERPACK_CACHE_SIZE": "0"}
        ended = layerpack(*command, folder=folder, cache=cache, extra=small)
        assert (ended.code, old.exists()) == (code, False), (command, ended.errors)


def test_a_cache_that_is_removed_during_a_build_is_one_error(tmp_path: Path, project: Path) -> None:
    cache = tmp_path / "cache"
    build = held(project, cache)
    shutil.rmtree(cache)
    (tmp_path / "go").write_text("")
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 6, errors
    assert errors.count("error: ") == 1
    assert f"{cache} was removed" in errors
    assert "Traceback" not in errors
    assert not (project / "build/small").exists()
    assert layerpack("build", "recipe.yaml", folder=project, cache=cache).code == 0


@pytest.mark.parametrize("command", [("build", "recipe.yaml"), ("cache", "clear", "--yes")])
def test_a_folder_with_anything_else_in_it_is_never_a_cache(
    tmp_path: Path, project: Path, command: tuple[str, ...]
) -> None:
    source = tmp_path / "src"
    for path in (source / "proj/.git/config", source / "proj/.venv/bin/python"):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    for path in source.rglob("*"):
        os.utime(path, (0, 0))
    before = sorted(source.rglob("*"))
    ended = layerpack(*command, folder=project, cache=source)
    assert ended.code == 2
    assert str(source) in ended.errors
    assert "--cache-dir" in ended.errors
    assert sorted(source.rglob("*")) == before
