"""Subprocesses: how they end, what they print, and that none outlives its caller."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from layerpack import process
from layerpack.errors import BuildToolError
from layerpack.process import Lines, Result, run
from layerpack.process_tree import end_session


def python(code: str) -> list[str]:
    """A command that runs the code."""
    return [sys.executable, "-c", code]


def test_the_exit_code_and_both_streams_are_given() -> None:
    result = run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert result == Result(returncode=3, output="out\n", errors="err\n")


#: Those of a program by default; of the rest none.
FIXED = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "NO_COLOR": "1",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "315532800",
    "TZ": "UTC",
}
PASSED = {"HOME", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PATH", "TMPDIR"}


def environment_of(**options: object) -> dict[str, str]:
    """The environment of a program, by /proc."""
    code = "print(open('/proc/self/environ').read().replace('\\0', '\\n'), end='')"
    lines = run(python(code), **options).output.splitlines()  # type: ignore[arg-type]
    return dict(line.split("=", 1) for line in lines)


def test_a_program_gets_fixed_variables_and_none_of_the_shells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GH_TOKEN", "PYTHONNODEBUGRANGES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LANG", "de_DE")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = environment_of()
    assert found.items() >= FIXED.items()
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert found.keys() <= FIXED.keys() | PASSED
    assert environment_of(environment={"ADDED": "1"}) == found | {"ADDED": "1"}
    assert environment_of(environment={"ADDED": "1"}, bare=True) == {"ADDED": "1"}


def test_the_folder_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    result = run(python("import os; print(os.getcwd())"), folder=tmp_path)
    assert result.output == f"{tmp_path}\n"


def test_users_and_passwords_in_addresses_are_not_shown() -> None:
    lines: list[str] = []
    text = "at https://me:s3cret@host/x?y=a@b and https://t0ken@host:8080 and https://host/a@b"
    result = run(python(f"import sys; print({text!r}); sys.exit({text!r})"), on_line=lines.append)
    shown = "at https://****@host/x?y=a@b and https://****@host:8080 and https://host/a@b"
    assert lines == [shown]
    assert (result.output, result.errors) == (f"{shown}\n", f"{shown}\n")


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


def test_a_line_without_end_takes_bounded_memory_and_work() -> None:
    lines: list[str] = []
    read = Lines(lines.append)
    tracemalloc.start()
    for _ in range(2000):
        read.feed(b"x" * 65536)
        # What is looked at again with the next piece.
        assert sum(map(len, read._rest)) <= 3 << 16
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    read.feed(b"\nnext\n")
    read.end()
    assert peak < 80 << 20
    assert len(lines[0]) <= 3 << 16 and lines[1:] == ["next"]
    assert len(read.text) < 40 << 20 and read.text.endswith("\nnext\n")


def test_lines_are_whole_however_they_come() -> None:
    text = b"one\r\n10%\r50%\r100%\r\n\nb\xc3\xa4r\nlast"
    for size in range(1, len(text) + 1):
        lines: list[str] = []
        read = Lines(lines.append)
        for at in range(0, len(text), size):
            read.feed(text[at : at + size])
        read.end()
        assert lines == ["one", "100%", "", "b\u00e4r", "last"]
        assert read.text == text.decode()


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


KILLED = """
import sys
from layerpack import process
sys.stdout.reconfigure(line_buffering=True)
child = '''
import subprocess, sys
sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(1000)"]
one = subprocess.Popen(sleep, stdout=subprocess.PIPE, preexec_fn={0})
one.stdout.readline()
print(os.getpid(), one.pid, flush=True)
one.wait()
'''
process.run([sys.executable, "-c", "import os" + child], on_line=print)
"""


@pytest.mark.parametrize("own", ["None", "os.setpgrp"], ids=["same group", "group"])
def test_programs_end_where_layerpack_is_killed(own: str) -> None:
    with subprocess.Popen(python(KILLED.format(own)), stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        numbers = [int(word) for word in killed.stdout.readline().split()]
        opened = [os.pidfd_open(number) for number in numbers]
        killed.kill()
    # A process that has ended is readable.
    ended = [select.select([number], [], [], 30)[0] == [number] for number in opened]
    for number in opened:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(number, signal.SIGKILL)
        os.close(number)
    assert ended == [True, True]


def test_a_program_that_cannot_be_watched_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    run(["true"])

    def start(thread: threading.Thread) -> None:
        started.extend(process._running)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BuildToolError, match="can't start new thread"):
        run(["sleep", "1000"])
    (number,) = started
    assert gone(number)
    assert not process._running
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_program_that_is_not_there_leaves_no_descriptor() -> None:
    run(["true"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BuildToolError):
        run(["no-such-program"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_tail_is_the_end_of_what_it_complained_of() -> None:
    text = "\n".join(str(number) for number in range(20)) + "\n"
    result = Result(returncode=1, output="ignored", errors=text)
    assert result.tail(3) == "17\n18\n19"
    assert Result(returncode=1, output="said\n", errors=" \n").tail() == "said"


# It holds the pipes, which a reader waits for.
LEAVE = """
import os, subprocess, sys
options = {{"group": {{"preexec_fn": os.setpgrp}}, "session": {{"start_new_session": True}}}}
sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
print(subprocess.Popen(sleep, **options.get("{0}", {{}})).pid, flush=True)
"""


def gone(number: int) -> bool:
    """Whether a process is not there, or is a zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("kind", ["same group", "group"])
def test_what_a_program_leaves_running_ends_with_it(kind: str) -> None:
    assert gone(int(run(python(LEAVE.format(kind))).output))


def test_what_leaves_its_session_is_not_waited_for() -> None:
    left = int(run(python(LEAVE.format("session"))).output)
    assert not gone(left)
    os.kill(left, signal.SIGKILL)


def test_a_program_that_ended_is_not_reaped_before_its_session_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then its number is its own: no other process can be hit by what ends the session."""
    states = []

    def observed(leader: int) -> None:
        states.append(Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[0])
        end_session(leader)

    monkeypatch.setattr("layerpack.process.end_session", observed)
    for _ in range(20):
        run(["true"])
    assert states == ["Z"] * 20


ENDING = """
import sys, threading
from layerpack import process
from layerpack.errors import BuildToolError
process.take_charge()
told = []
sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(1000)"]
def work():
    try:
        ended = process.run(sleep, on_line=lambda line: running.release())
        process.run(["true"])
    except BuildToolError as error:
        told.append((ended.returncode, error.message))
running = threading.Semaphore(0)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: running.acquire()
process.end_all()
for thread in threads: thread.join()
print(sorted(set(told)), len(told))
"""


def test_programs_of_all_threads_end_and_none_is_started_any_more() -> None:
    ended = subprocess.run(python(ENDING), capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[(-9, 'true cannot be started: layerpack is ending')] 3\n"


LEFT_BEHIND = """
import subprocess, sys
from pathlib import Path
from layerpack import process
process.take_charge()
child = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(1000)"]
many = f'''
import subprocess
for _ in range(20):
    one = subprocess.Popen({child!r}, stdout=subprocess.PIPE, start_new_session=True)
    one.stdout.readline()
    print(one.pid, flush=True)
'''
numbers = process.run([sys.executable, "-c", many]).output.split()
process.end_all()
process.end_rest()
states = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] for one in numbers]
print(len(states), set(states))
"""


def test_sessions_that_programs_left_behind_end_with_layerpack() -> None:
    ended = subprocess.run(
        python(LEFT_BEHIND), capture_output=True, text=True, check=True, timeout=60
    )
    # Killed, and not reaped: they are this process's children by now.
    assert ended.stdout == "20 {'Z'}\n"
