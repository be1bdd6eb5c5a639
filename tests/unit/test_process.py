"""Subprocesses: how they end, what they print, and that none outlives its caller."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from layerpack.errors import BuildToolError
from layerpack.process import Result, run


def python(code: str) -> list[str]:
    """A command that runs the code."""
    return [sys.executable, "-c", code]


def test_the_exit_code_and_both_streams_are_given() -> None:
    result = run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert result == Result(returncode=3, output="out\n", errors="err\n")


def test_the_environment_is_added_to_this_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAD_BEFORE", "yes")
    code = "import os; print(os.environ['HAD_BEFORE'], os.environ['ADDED'], os.getcwd())"
    result = run(python(code), environment={"ADDED": "too"}, folder=tmp_path)
    assert result.output == f"yes too {tmp_path}\n"


def test_there_is_no_input_to_wait_for() -> None:
    assert run(python("import sys; print(repr(sys.stdin.read()))")).output == "''\n"


def test_lines_come_while_the_program_runs(tmp_path: Path) -> None:
    # The program goes on only once its first line was handled.
    os.mkfifo(tmp_path / "go")
    code = "print('one', flush=True); print(open('go').read(), end='')"

    def on_line(line: str) -> None:
        if line == "one":
            (tmp_path / "go").write_text("two\nthree")

    assert run(python(code), folder=tmp_path, on_line=on_line).output == "one\ntwo\nthree"


def test_much_on_standard_error_stops_nothing() -> None:
    code = "import sys; sys.stderr.write('x' * 1_000_000); print('done')"
    lines: list[str] = []
    result = run(python(code), on_line=lines.append)
    assert lines == ["done"]
    assert len(result.errors) == 1_000_000


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(python("import os; os.write(1, b'a\\xffb')")).output == "a\ufffdb"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BuildToolError, match="no-such-program cannot be started: No such file"):
        run(["no-such-program"])


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("text")
    with pytest.raises(BuildToolError, match="notes cannot be started: Permission denied"):
        run([tmp_path / "notes"])


def test_a_cancelled_call_leaves_no_process() -> None:
    pids: list[int] = []

    def cancel(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run(python(code), on_line=cancel)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_tail_is_the_end_of_what_it_complained_of() -> None:
    text = "\n".join(str(number) for number in range(20)) + "\n"
    result = Result(returncode=1, output="ignored", errors=text)
    assert result.tail(3) == "17\n18\n19"
    assert Result(returncode=1, output="said\n", errors=" \n").tail() == "said"


def test_what_a_program_leaves_running_ends_with_it() -> None:
    # It holds the pipes, which a reader waits for.
    code = (
        "import subprocess, sys; print('done', flush=True);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])"
    )
    assert run(python(code), alone=True).output == "done\n"
