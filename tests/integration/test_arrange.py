"""Recordings of workloads, through `layerpack build`: made once, kept beside the lock, heeded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerpack.recording import Recording
from tests.support.code import CODE_PATH, code_wheel
from tests.support.command import Ended, layerpack
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal

MORE = """\
native: {store: paged, touched: packed, level: 3}
function: {source: code, handler: app.handler}
workloads: [{name: run, event: event.json}]
"""
HANDLER = """\
import alpha._code


def handler(event, context):
    return alpha._code.run()
"""
IDLE = "def handler(event, context):\n    return 0\n"
TRACED = "running the workloads, to arrange what they touch"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alpha, with an extension module of much code."""
    return code_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def project(tmp_path: Path, index: LocalIndex, wheel: Path) -> Path:
    """A recipe whose function runs all of alpha's code."""
    index.add(wheel)
    folder = tmp_path / "project"
    (folder / "code").mkdir(parents=True)
    (folder / "code/app.py").write_text(HANDLER)
    (folder / "event.json").write_text("{}")
    minimal(folder, runtime=HERE, index=index.url, more=MORE)
    return folder


def build(project: Path, cache: Path, *options: str) -> Ended:
    """A build that must succeed, with its notes."""
    ended = layerpack("build", "recipe.yaml", "--verbose", *options, folder=project, cache=cache)
    assert ended.code == 0, ended.errors
    return ended


def hot_pages(project: Path) -> int:
    """How many pages of alpha's library the build arranged."""
    files = json.loads((project / "build/small/files.json").read_text())["files"]
    (found,) = [one["paged"]["hot_pages"] for one in files if one["path"] == CODE_PATH]
    assert isinstance(found, int)
    return found


def test_a_build_records_once_and_the_next_ones_heed_it(project: Path, tmp_path: Path) -> None:
    first = build(project, tmp_path / "cache")
    assert TRACED in first.errors
    path = project / "recipe.pages"
    recording = Recording.read(path)
    assert recording is not None
    (record,) = recording.libraries.values()
    assert record.path == CODE_PATH
    # All code runs: 150 functions of several kB each.
    assert len(record.pages) > 50
    assert recording.imported == {"python/alpha/__init__.py"}
    assert hot_pages(project) == len(record.pages)

    # Nothing changed, so nothing is done.
    assert "nothing changed" in build(project, tmp_path / "cache").errors

    # Elsewhere, with an empty cache, the same input gives the same bytes, and nothing runs.
    before = {zip_.name: zip_.read_bytes() for zip_ in project.glob("build/small/layers/*.zip")}
    text = path.read_bytes()
    again = build(project, tmp_path / "other-cache", "--output", "build/other")
    assert TRACED not in again.errors
    assert path.read_bytes() == text
    after = {zip_.name: zip_.read_bytes() for zip_ in project.glob("build/other/layers/*.zip")}
    assert before == after


def test_another_function_is_recorded_anew(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(project, cache)
    (project / "code/app.py").write_text(IDLE)
    ended = build(project, cache)
    assert "recipe.pages is stale (the function or a workload has changed)" in ended.errors
    assert hot_pages(project) == 0


@pytest.mark.exhaustive
def test_other_libraries_are_recorded_anew(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    cache = tmp_path / "cache"
    build(project, cache)
    index.add(code_wheel(tmp_path / "newer", "1.1", count=120))
    assert layerpack("lock", "recipe.yaml", "--upgrade", folder=project, cache=cache).code == 0
    ended = build(project, cache)
    assert "recipe.pages is stale (the libraries have changed)" in ended.errors
    assert hot_pages(project) > 0


def test_a_changed_recording_makes_a_new_build(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(project, cache)
    path = project / "recipe.pages"
    recording = Recording.read(path)
    assert recording is not None
    (record,) = recording.libraries.values()
    first = record.pages[0]
    text = path.read_text()
    value = json.loads(text)
    for library in value["libraries"].values():
        library["pages"] = str(first)
    path.write_text(json.dumps(value))
    assert "nothing changed" not in build(project, cache).errors
    assert hot_pages(project) == 1


def test_locked_changes_no_recording_and_the_next_build_makes_it(
    project: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert layerpack("lock", "recipe.yaml", folder=project, cache=cache).code == 0
    for _ in range(2):
        ended = build(project, cache, "--locked")
        assert TRACED not in ended.errors
        assert not (project / "recipe.pages").exists()
        assert hot_pages(project) == 0
    assert "nothing changed" in ended.errors
    assert TRACED in build(project, cache).errors
    assert hot_pages(project) > 50


def test_a_workload_that_fails_is_told_until_it_answers(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (project / "code/app.py").write_text(
        "import alpha._code\nfrom pathlib import Path\n\n\ndef handler(event, context):\n"
        f"    alpha._code.run()\n    open({str(project / 'there')!r})\n"
    )
    for _ in range(2):
        ended = build(project, cache)
        assert "workload run: FileNotFoundError" in ended.errors
        # What it touched until then serves this build alone.
        assert hot_pages(project) > 50
        assert not (project / "recipe.pages").exists()
    (project / "there").touch()
    assert "workload run" not in build(project, cache).errors
    assert (project / "recipe.pages").is_file()


def test_a_file_that_is_no_recording_is_told_and_left_alone(project: Path, tmp_path: Path) -> None:
    path = project / "recipe.pages"
    path.write_text("my notes")
    ended = layerpack("build", "recipe.yaml", folder=project, cache=tmp_path / "cache")
    assert ended.code == 4
    assert "recipe.pages is not a recording" in ended.errors
    assert path.read_text() == "my notes"
