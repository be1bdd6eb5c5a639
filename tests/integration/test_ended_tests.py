"""A test that fails leaves no process: what the tests' support started ends with the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = """\
from pathlib import Path
from tests.support.command import start
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

def test_that_fails(tmp_path, index):
    wheel = make_wheel(tmp_path, "alpha")
    index.add(wheel)
    gate = index.gate(wheel.name)
    minimal(tmp_path, runtime=HERE, index=index.url)
    process = start("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert gate.reached.wait(60)
    Path(__file__).with_name("started").write_text(str(process.pid))
    assert process.poll() == 0
"""


def test_a_failing_test_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command += ["-p", "tests.conftest", "--basetemp", str(tmp_path / "base")]
    ended = subprocess.run([*command, str(tmp_path / "test_it.py")], cwd=ROOT, check=False)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    with pytest.raises(ProcessLookupError):
        os.killpg(int((tmp_path / "started").read_text()), 0)
