"""Scratch folders: gone at the end, swept after a kill, and never under a process that lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.emulator import sandbox
from layerpack.scratch import ScratchFolder, sweep

HOLD = """\
import sys
from pathlib import Path
from layerpack.scratch import ScratchFolder

scratch = ScratchFolder(sys.argv[1], Path(sys.argv[2]))
print(scratch.name, flush=True)
sys.stdin.read()
"""


def held(prefix: str, parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that lives until it is killed, and its scratch folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, prefix, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_there_until_its_end(tmp_path: Path) -> None:
    with ScratchFolder("ours-", tmp_path) as scratch:
        Path(scratch.name, "file").write_text("x")
        sweep("ours-", tmp_path)
        assert Path(scratch.name, "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_processs_folder_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    process, folder = held("ours-", tmp_path)
    with process:
        for path in (folder, folder.parent):
            os.utime(path, (0, 0))
        sweep("ours-", tmp_path)
        assert folder.is_dir()
        process.kill()
        process.wait()
    sweep("ours-", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "ours-empty").mkdir()
    (tmp_path / "ours-file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/lock").touch()
    (tmp_path / "ours-link").symlink_to("mine")
    before = sorted(tmp_path.rglob("*"))
    sweep("ours-", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sandbox_of_a_process_that_has_no_number_here_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a container that has a folder for temporary files with this machine in common.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    other = tmp_path / f"layerpack-sandbox-{gone.pid}-x1y2z3"
    other.mkdir()
    process, folder = held("layerpack-sandbox-", tmp_path)
    program = sandbox.Program(
        name="small",
        runtime="python3.12",
        handler="app.handler",
        opt=tmp_path / "none",
        task=tmp_path / "none",
        client=tmp_path / "none",
    )
    with process:
        with pytest.raises(OSError, match="none"):
            sandbox.start(program, sandbox.Settings(), "process")
        assert folder.is_dir()
        assert other.is_dir()
        process.kill()
