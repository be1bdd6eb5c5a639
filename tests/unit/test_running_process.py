"""A sandbox's process: its exit code, and how long its number is its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.emulator.running_process import RunningProcess
from layerpack.scratch import ScratchFolder
from tests.support.engine import until
from tests.support.host import foreign_library


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)],
)
def test_a_process_is_not_reaped_before_its_end(tmp_path: Path, code: str, expected: int) -> None:
    """Until then it may be killed, and its number must not be another's."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scratch = ScratchFolder("layerpack-", tmp_path)
        running = RunningProcess(process, listener, scratch, memory_mb=1769)
        assert running.wait() == expected
        stat = Path(f"/proc/{process.pid}/stat")
        assert stat.read_text().rpartition(")")[2].split()[0] == "Z"
        running.kill()
        assert running.wait() == expected
        running.end()
        assert not stat.exists()
        running.kill()
    running.output.close()
    assert process.returncode == expected
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED)


def test_a_library_counts_that_a_child_let_go(tmp_path: Path) -> None:
    """Nobody looks at the moment in which it is mapped, but for the watch."""
    soname, _ = foreign_library()
    child = f"import ctypes; ctypes.CDLL({soname!r}); print(flush=True); input()"
    code = (
        "import subprocess, sys; "
        f"print(subprocess.call([sys.executable, '-c', {child!r}]), flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scratch = ScratchFolder("layerpack-", tmp_path)
        running = RunningProcess(process, listener, scratch, memory_mb=1769)
        assert process.stdout.readline() == b"\n"
        until(lambda: any(soname in path for path in running.mapped), 20)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"0\n"
        assert any(soname in path for path in running.mapped)
        running.kill()
        running.end()
    process.stdin.close()
    running.output.close()
