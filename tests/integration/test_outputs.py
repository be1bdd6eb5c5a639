"""Wherever a user sends an output: it is written, or one message says why not, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Ended, environment, layerpack
from tests.support.recipes import HERE, minimal
from tests.unit.report.builds import fitting


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a recipe, and a build's records."""
    folder = tmp_path / "project"
    minimal(folder, runtime=HERE)
    built = fitting()
    (folder / "build/small").mkdir(parents=True)
    built.manifest.write(folder / "build/small/manifest.json")
    built.inventory.write(folder / "build/small/files.json")
    return folder


def refused(ended: Ended, code: int, place: str) -> str:
    """The one message, which names the place and has no traceback."""
    assert ended.code == code, ended.errors
    assert ended.output == ""
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("error: ") == 1
    assert len(ended.errors.splitlines()) <= 2
    assert place in ended.errors
    return ended.errors


def test_the_root_of_the_file_system_is_no_builds_folder(project: Path, tmp_path: Path) -> None:
    before = sorted(project.rglob("*"))
    ended = layerpack("build", "recipe.yaml", "-o", "/", folder=project, cache=tmp_path / "c")
    assert "--output /NAME" in refused(ended, 2, "/")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("output", [".", "../empty"])
def test_the_current_folder_is_no_builds_folder(project: Path, tmp_path: Path, output: str) -> None:
    folder = project / "empty"
    folder.mkdir()
    ended = layerpack("build", "../recipe.yaml", "-o", output, folder=folder, cache=tmp_path / "c")
    assert "--output build/NAME" in refused(ended, 2, output)
    assert folder.is_dir()


# Run in a mount namespace of its own, where the project cannot be written.
_READ_ONLY = """\
import json, subprocess, sys

folder, command = sys.argv[1:3]
subprocess.run(["mount", "--bind", folder, folder], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
told = []
for arguments in json.loads(sys.argv[3]):
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
    told.append([done.returncode, done.stdout, done.stderr])
print(json.dumps(told))
"""


@pytest.mark.exhaustive
def test_a_read_only_file_system_is_one_message(project: Path, tmp_path: Path) -> None:
    commands = [
        ["build", "recipe.yaml", "-o", "new/place"],
        ["size-report", "build/small", "--html", "page.html"],
        ["export", "build/small", "--to", "sam", "-o", "template.yaml"],
    ]
    isolated = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", _READ_ONLY]
    done = subprocess.run(
        [*isolated, str(project), str(COMMAND), json.dumps(commands)],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "c"),
        check=True,
    )
    for (code, output, errors), place in zip(
        json.loads(done.stdout),
        ("new/place", "page.html", "template.yaml"),
        strict=True,
    ):
        told = refused(Ended(code=code, output=output, errors=errors), 6, place)
        assert "Read-only file system" in told


def test_a_lock_that_cannot_be_written_is_one_message(project: Path, tmp_path: Path) -> None:
    (project / "recipe.lock").mkdir()
    ended = layerpack("build", "recipe.yaml", "-o", "new", folder=project, cache=tmp_path / "c")
    refused(ended, 5, "recipe.lock")
