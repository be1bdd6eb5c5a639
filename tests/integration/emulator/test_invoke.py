"""Environments: what a function finds, and how Lambda's failures come about."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsIndex

import pytest

from layerpack.emulator.environment import Environment, Invocation
from layerpack.emulator.inside import imports
from layerpack.emulator.sandbox import Isolation, Program
from layerpack.lambda_variables import CREDENTIALS
from tests.integration.emulator.conftest import ISOLATIONS, Log, program_in, started

_REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\tDuration: (?P<duration>[\d.]+) ms\t"
    r"Billed Duration: (?P<billed>\d+) ms\tMemory Size: (?P<size>\d+) MB\t"
    r"Max Memory Used: (?P<used>\d+) MB\t(?:Init Duration: (?P<init>[\d.]+) ms\t)?"
    r"(?:Status: (?P<status>\w+)\t)?(?:Error Type: (?P<type>\S+)\t)?\n"
)


def ask(environment: Environment, event: Any) -> Invocation:
    """Invoke with an event."""
    return environment.invoke(json.dumps(event).encode())


def run(environment: Environment, code: str) -> Any:
    """Run code in the function; `answer` is what it gives."""
    invocation = ask(environment, {"exec": code})
    assert not invocation.error_type, invocation.payload
    return json.loads(invocation.payload)


def error_of(invocation: Invocation) -> dict[str, Any]:
    """The error that an invocation gave."""
    error: dict[str, Any] = json.loads(invocation.payload)
    assert error["errorType"] == invocation.error_type
    return error


def test_an_environment_answers_and_stays_warm(program: Program) -> None:
    log = Log()
    environment = started(program, log, memory_mb=512)
    try:
        first, second = (ask(environment, {"a": n}) for n in (1, 2))
    finally:
        environment.close()
    assert json.loads(first.payload) == {"calls": 1, "event": {"a": 1}}
    assert json.loads(second.payload) == {"calls": 2, "event": {"a": 2}}
    assert first.init_ms is not None and first.init_ms > 0 and second.init_ms is None
    reports = list(_REPORT.finditer(log.text))
    assert [report["id"] for report in reports] == [first.request, second.request]
    assert reports[0]["init"] and not reports[1]["init"]
    assert int(reports[0]["billed"]) >= first.duration_ms + first.init_ms
    assert all(report["size"] == "512" and 5 < int(report["used"]) < 200 for report in reports)
    # Initialisation comes before the first event.
    assert log.text.index("imported") < log.text.index("START RequestId")


FINDS = """\
import json, os, socket, sys
from pathlib import Path
def refused(path):
    try:
        Path(path).write_text("x")
    except OSError as error:
        return error.errno
answer = {
    "user": [os.getuid(), os.getgid()],
    "path": sys.path,
    "cwd": os.getcwd(),
    "executable": sys.executable,
    "refused": [refused(p) for p in ("/opt/x", "/var/task/x", "/x", "/usr/x", "/var/lang/x")],
    "tmp": [refused("/tmp/x"), os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize],
    "dev": sorted(os.listdir("/dev")),
    "home": [*os.listdir("/root"), *os.listdir("/home")],
    "processes": [int(n) for n in os.listdir("/proc") if n.isdigit()],
    "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")],
    "privileges": [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")],
    "variables": {k: v for k, v in os.environ.items()},
    "alpha": __import__("alpha").VALUE,
}
"""


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_function_finds_what_lambda_has(
    program: Program, monkeypatch: pytest.MonkeyPatch, isolation: Isolation
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    environment = started(program, Log(), isolation, tmp_mb=600, variables={"MODE": "test"})
    try:
        found = run(environment, FINDS)
    finally:
        environment.close()
    assert found["user"] == [993, 990]
    site = f"/opt/python/lib/{program.runtime}/site-packages"
    assert found["path"][:3] == ["/var/task", site, "/opt/python"]
    assert found["path"][-1] == "/var/runtime"
    assert all(path.startswith(("/var/", "/opt/")) for path in found["path"])
    assert found["cwd"] == "/var/task"
    assert found["executable"].startswith("/var/lang/bin/python")
    # Read-only file systems, all of them.
    assert found["refused"] == [30] * 5
    assert found["tmp"] == [None, 600 * 2**20]
    assert "shm" not in found["dev"] and {"null", "urandom"} <= set(found["dev"])
    # Amazon Linux's folders, without what is in this machine's.
    assert found["home"] == []
    assert max(found["processes"]) < 20
    assert found["capabilities"] == ["0000000000000000"] and found["privileges"] == ["1"]
    # Not this machine's, but there: code may read them when it is imported.
    assert CREDENTIALS.items() <= found["variables"].items()
    assert found["variables"]["PYTHONPATH"] == "/var/runtime"
    assert found["variables"]["MODE"] == "test"
    assert found["variables"]["LD_LIBRARY_PATH"].endswith(":/var/task/lib:/opt/lib")
    assert found["variables"]["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{program.runtime}"
    assert found["alpha"] == 7


def test_a_variable_of_the_users_replaces_the_layers_path(program: Program) -> None:
    environment = started(program, Log(), variables={"PYTHONPATH": "/var/task"})
    try:
        code = "import sys; answer = [p for p in sys.path if p.startswith('/opt')]"
        assert run(environment, code) == []
    finally:
        environment.close()


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("network", [True, False])
def test_the_network_can_be_cut_off(program: Program, network: bool, isolation: Isolation) -> None:
    code = (
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "answer = [name for _, name in socket.if_nameindex()]"
    )
    environment = started(program, Log(), isolation, network=network)
    try:
        names = run(environment, code)
    finally:
        environment.close()
    assert "lo" in names
    assert (names == ["lo"]) or network


def test_what_multiprocessing_cannot_do_on_lambda_fails_here(program: Program) -> None:
    environment = started(program, Log())
    try:
        failed = ask(environment, {"exec": "import multiprocessing\nmultiprocessing.Pool(2)"})
        code = (
            "import multiprocessing as m\nours, theirs = m.Pipe()\n"
            "p = m.get_context('fork').Process(target=lambda: theirs.send(5))\n"
            "p.start()\np.join()\nanswer = ours.recv()"
        )
        assert run(environment, code) == 5
    finally:
        environment.close()
    assert failed.error_type in ("FileNotFoundError", "OSError", "PermissionError")
    assert "SemLock" in "".join(error_of(failed)["stackTrace"])


def test_an_exception_is_described_and_the_environment_goes_on(program: Program) -> None:
    log = Log()
    environment = started(program, log)
    try:
        failed = ask(environment, {"exec": "raise ValueError('no such thing')"})
        assert json.loads(ask(environment, {}).payload)["calls"] == 2
    finally:
        environment.close()
    error = error_of(failed)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such thing")
    assert error["requestId"] == failed.request
    assert "[ERROR] ValueError: no such thing" in log.text


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("import os; os._exit(3)", "Runtime.ExitError", "exit status 3"),
        ("import sys; sys.exit(0)", "Runtime.ExitError", ""),
        ("import ctypes; ctypes.string_at(0)", "Runtime.ExitError", "signal: segmentation fault"),
        ("import os; os.abort()", "Runtime.ExitError", "signal: aborted"),
        ("while True: pass", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        (
            "kept = []\nwhile True: kept.append(b'x' * 10_000_000)",
            "Runtime.OutOfMemory",
            "signal: killed",
        ),
        ("answer = 'x' * 6_300_000", "Function.ResponseSizeTooLarge", "6291556 bytes"),
    ],
)
def test_what_ends_the_process_is_told_and_the_next_event_finds_a_new_one(
    program: Program, code: str, kind: str, message: str
) -> None:
    log = Log()
    endless = kind == "Sandbox.Timedout"
    environment = started(program, log, timeout=1.0 if endless else 60.0, memory_mb=256)
    try:
        failed = ask(environment, {"exec": code})
        after = ask(environment, {})
    finally:
        environment.close()
    error = error_of(failed)
    assert error["errorType"] == kind
    assert message in error["errorMessage"]
    assert failed.memory_mb <= 256
    status = _REPORT.search(log.text)
    assert status is not None and status["status"] == ("timeout" if endless else "error")
    assert json.loads(after.payload)["calls"] == 1
    # It begins anew within the invocation.
    assert after.init_ms is None


def test_a_function_that_does_not_import_says_so_every_time(
    tmp_path: Path, emulator_cache: Any
) -> None:
    log = Log()
    program = program_in(tmp_path / "program", emulator_cache, "import beta\n")
    environment = started(program, log)
    try:
        failures = [error_of(ask(environment, {})) for _ in range(2)]
    finally:
        environment.close()
    for error in failures:
        assert error["errorType"] == "Runtime.ImportModuleError"
        assert "No module named 'beta'" in error["errorMessage"]
    assert "INIT_REPORT" in log.text


def test_what_is_printed_comes_in_its_place_however_much_it_is(program: Program) -> None:
    log = Log()
    environment = started(program, log, timeout=120.0)
    try:
        ask(environment, {"print": 50_000})
        ask(environment, {"print": 1})
        assert environment.log_tail.count(b"x" * 1023) == 1
    finally:
        environment.close()
    before, _, rest = log.text.partition("END RequestId")
    assert before.count("x" * 1023 + "\n") == 50_000
    assert rest.count("x" * 1023 + "\n") == 1


class Tildes(Log):
    """How many of them came, and nothing of what was printed."""

    count_so_far = 0

    def extend(self, printed: Iterable[SupportsIndex], /) -> None:
        """Count, and let go."""
        self.count_so_far += bytes(printed).count(b"~")


def resident(which: str) -> int:
    """Bytes of memory that this process has (`VmRSS`), or had at most (`VmHWM`, proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


@pytest.mark.exhaustive
def test_a_gigabyte_is_printed_and_none_of_it_lost_or_kept(program: Program) -> None:
    log = Tildes()
    environment = started(program, log, timeout=120.0)
    code = "for _ in range(2**14): print('~' * 65535)\nanswer = 'done'"
    try:
        run(environment, "answer = None")
        # Sets the most to what it has now.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        assert run(environment, code) == "done"
        assert log.count_so_far == 2**14 * 65535
        assert resident("VmHWM") - before < 32 * 2**20
        assert len(environment.log_tail) == 4096
        assert b"REPORT RequestId" in environment.log_tail
    finally:
        environment.close()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_is_left_behind(program: Program, isolation: Isolation) -> None:
    environment = started(program, Log(), isolation)
    code = (
        "import subprocess\nanswer = subprocess.Popen(['sleep', '987'], start_new_session=True).pid"
    )
    run(environment, code)
    assert subprocess.run(["pgrep", "-f", "sleep 987"], check=False).returncode == 0
    environment.close()
    assert subprocess.run(["pgrep", "-f", "sleep 987"], check=False).returncode == 1


def test_a_plain_process_answers_as_well(program: Program) -> None:
    log = Log()
    environment = started(program, log, "process")
    try:
        code = "import os, alpha\nanswer = [alpha.VALUE, os.getcwd()]"
        value, folder = run(environment, code)
        # Its own copies: what it writes is in no other run's way.
        assert value == 7 and Path(folder) != program.task
        code = "import shutil\nanswer = [bool(shutil.which(x)) for x in ('sort', 'python3', 'gcc')]"
        assert run(environment, code) == [True, True, False]
        assert error_of(ask(environment, {"exec": "raise KeyError(1)"}))["errorType"] == "KeyError"
    finally:
        environment.close()


def test_memory_brings_a_share_of_a_processor(program: Program) -> None:
    environment = started(program, Log(), processors=0.25, timeout=60.0)
    try:
        code = (
            "import time\nbegan, used = time.monotonic(), time.process_time()\n"
            "while time.process_time() - used < 0.5: pass\n"
            "answer = (time.process_time() - used) / (time.monotonic() - began)"
        )
        share = run(environment, code)
    finally:
        environment.close()
    # Other work on the machine makes it less, never more.
    assert 0 < share < 0.35


@pytest.mark.parametrize("isolation", [*ISOLATIONS, "process"])
def test_an_environment_closes_whatever_still_runs(program: Program, isolation: Isolation) -> None:
    """Each of these keeps an interpreter from exiting, and so the test from its end."""
    (program.task / "app.py").write_text(
        "import atexit, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "atexit.register(time.sleep, 1000)\n"
        "def handler(event, context): return event\n"
    )
    environment = started(program, Log(), isolation)
    assert ask(environment, {"a": 1}).payload == b'{"a": 1}'
    environment.close()


def test_a_failed_import_is_reported_though_the_interpreter_hangs(program: Program) -> None:
    (program.task / "app.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "import beta\n"
    )
    environment = started(program, Log())
    assert "beta" in environment.initialise()
    environment.close()


def test_modules_that_leave_threads_and_close_streams_are_imported(program: Program) -> None:
    (program.opt / "python/hangs.py").write_text(
        "import sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "sys.stdout.close()\n"
    )
    (program.task / "app.py").write_text(Path(imports.__file__).read_text())
    environment = started(program, Log())
    event = {"modules": ["hangs", "beta"], "seconds": 20}
    try:
        answer = json.loads(ask(environment, event).payload)
    finally:
        environment.close()
    assert set(answer["failing"]) == {"beta"}
