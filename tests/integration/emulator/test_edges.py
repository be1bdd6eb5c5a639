"""Environments at the edges: how processes end, what memory counts, what stays closed."""

from __future__ import annotations

import base64
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from layerpack.emulator.host_system import system_binds
from layerpack.emulator.http_api import HttpFront
from layerpack.emulator.output import Output
from layerpack.emulator.sandbox import Isolation, Program
from tests.integration.emulator.conftest import ISOLATIONS, Log, started
from tests.integration.emulator.test_invoke import ask, error_of, run
from tests.integration.emulator.test_serve import serving


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("code", [1, 127, 130, 255])
def test_an_exit_code_is_no_signal(program: Program, isolation: Isolation, code: int) -> None:
    with closing(started(program, Log(), isolation)) as environment:
        failed = ask(environment, {"exec": f"import os; os._exit({code})"})
    told = error_of(failed)["errorMessage"]
    if isolation == "bubblewrap" and code == 130:
        # bwrap tells of signals as shells do, and so of this as of one.
        assert told.endswith("signal: interrupt")
    else:
        assert told.endswith(f"exit status {code}")


def test_initialisation_ends_when_the_client_is_ready(program: Program) -> None:
    began = time.monotonic()
    with closing(started(program, Log())) as environment:
        assert environment._life is not None
        while environment._life.api.messages.empty():
            pass
        ready = time.monotonic()
        # As long again passes before somebody asks.
        while time.monotonic() < ready + (ready - began):
            pass
        answer = ask(environment, {})
    assert answer.init_ms is not None and answer.init_ms <= (ready - began) * 1000


def test_a_process_that_ends_after_its_answer_is_not_the_next_events_concern(
    program: Program,
) -> None:
    # Its standard output goes with the answer; then the client asks for the next event.
    code = (
        "import os, threading\n"
        "real = os.write\n"
        "from awslambdaric import lambda_runtime_client as client\n"
        "def end(self, *rest): os._exit(4)\n"
        "client.LambdaRuntimeClient.wait_next_invocation = end\n"
        "answer = 'last'"
    )
    with closing(started(program, Log())) as environment:
        answer = ask(environment, {"exec": code})
        assert (answer.error_type, json.loads(answer.payload)) == ("", "last")
        assert json.loads(ask(environment, {}).payload)["calls"] == 1


def test_memory_that_processes_share_counts_once(program: Program) -> None:
    code = (
        "import os\n"
        "kept = b'x' * 150_000_000\n"
        "pipes = []\n"
        "for _ in range(3):\n"
        "    ours, theirs = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        total = sum(kept[::4096])\n"
        "        os.write(theirs, b'.')\n"
        "        os.read(ours, 2)\n"
        "        os._exit(0)\n"
        "    pipes.append((ours, theirs))\n"
        "answer = len(kept)\n"
    )
    with closing(started(program, Log(), memory_mb=400)) as environment:
        assert run(environment, code) == 150_000_000
        assert run(environment, "answer = 1") == 1


def test_a_file_in_tmp_is_on_a_disk(program: Program) -> None:
    code = (
        "import mmap\n"
        "with open('/tmp/model', 'wb') as file:\n"
        "    for _ in range(300): file.write(b'x' * 1_000_000)\n"
        "file = open('/tmp/model', 'rb')\n"
        "for _ in range(6):\n"
        "    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:\n"
        "        answer = sum(mapped[::4096])\n"
    )
    with closing(started(program, Log(), memory_mb=256, timeout=60.0)) as environment:
        assert run(environment, code) == ord("x") * -(-300_000_000 // 4096)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("megabytes", "error"), [(150, ""), (300, "Runtime.OutOfMemory")])
def test_shared_memory_counts_once(
    program: Program, named: bool, megabytes: int, error: str
) -> None:
    code = f"""\
import mmap, os
size = {megabytes} * 1_000_000
file = os.memfd_create("shared") if {named} else -1
if {named}: os.truncate(file, size)
shared = mmap.mmap(file, size)
shared[::4096] = b"x" * -(-size // 4096)
child = os.fork()
if not child:
    sum(shared[::4096])
    os._exit(0)
answer = os.waitpid(child, 0)[1]
# It ends when it is seen to have too much.
while size > 256_000_000: pass
"""
    with closing(started(program, Log(), memory_mb=256, timeout=60.0)) as environment:
        assert ask(environment, {"exec": code}).error_type == error


def test_settings_of_the_machine_are_out_of_reach(program: Program) -> None:
    code = """\
import ctypes, os, resource
def refused(call):
    try:
        call()
    except OSError as error:
        return error.errno
libc = ctypes.CDLL(None, use_errno=True)
answer = {
    "shadow": os.path.exists("/etc/shadow"),
    "hosts": refused(lambda: open("/etc/hosts", "a")),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "namespaces": libc.unshare(0x10000000),
    "exit": "exit" in dir(__builtins__) or "exit" in __builtins__,
}
"""
    with closing(started(program, Log())) as environment:
        found = run(environment, code)
    assert found["shadow"] is False
    assert found["hosts"] == 30
    assert found["files"] == [1024, 1024]
    assert found["namespaces"] == -1
    assert found["exit"]


def test_mounts_below_a_mount_are_read_only_too(program: Program, tmp_path: Path) -> None:
    """In namespaces of its own, with mounts below a folder of the system that is shown, such as
    containers have below /etc."""
    shown = system_binds(program.interpreter, program.runtime)
    place = next(source for source, target in shown if source == target and Path(source).is_dir())
    (tmp_path / "mine").write_text("mine")
    script = tmp_path / "inside.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from layerpack.emulator.sandbox import Program\n"
        "from tests.integration.emulator.conftest import ISOLATIONS, Log, started\n"
        "from tests.integration.emulator.test_invoke import run\n"
        f"program = Program(**{{k: Path(v) if k in ('opt', 'task', 'client', 'interpreter') else v"
        f" for k, v in {_plain(program)!r}.items()}})\n"
        "environment = started(program, Log())\n"
        f"code = (\"try:\\n    open('{place}/mine/file', 'a')\\n    answer = 0\\n\"\n"
        "        'except OSError as error:\\n    answer = error.errno')\n"
        "print(run(environment, code))\n"
        "environment.close()\n"
    )
    commands = (
        f"mount -t tmpfs none {place} && mkdir {place}/mine && "
        f"mount -t tmpfs none {place}/mine && touch {place}/mine/file && "
        f"exec {sys.executable} {script}"
    )
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", commands],
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.strip() == "30", ended.stderr


def _plain(program: Program) -> dict[str, str]:
    names = ("name", "runtime", "handler", "opt", "task", "client", "interpreter")
    return {name: str(getattr(program, name)) for name in names}


def test_a_log_that_nobody_reads_does_not_stop_the_function(program: Program) -> None:
    class Gone(Log):
        def extend(self, data: Any) -> None:
            raise BrokenPipeError

    with closing(started(program, Gone())) as environment:
        assert not ask(environment, {"print": 5000}).error_type


@pytest.mark.exhaustive
def test_flushing_ends_with_the_pipe() -> None:
    """However the two meet: the threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5000):
            reading, writing = os.pipe()
            output = Output(os.fdopen(reading, "rb", buffering=0), lambda data: None)
            flushing = threading.Thread(target=output.flush, daemon=True)
            flushing.start()
            os.close(writing)
            flushing.join(30)
            assert not flushing.is_alive()
            output.close()
    finally:
        sys.setswitchinterval(before)


def test_lines_of_an_error_are_lines_and_lambdas_stand_alone(program: Program) -> None:
    log = Log()
    with closing(started(program, log)) as environment:
        ask(environment, {"exec": "print('unfinished', end='')\nraise ValueError('one\\ntwo')"})
    assert "[ERROR] ValueError: one\ntwo\nTraceback (most recent call last):\n" in log.text
    with closing(started(program, log)) as environment:
        ask(environment, {"exec": "print('unfinished', end='')"})
    assert "unfinished\nEND RequestId" in log.text


# Through HTTP.


def post(front: HttpFront, event: Any, **headers: str) -> tuple[int, Any]:
    """Invoke over a connection of its own: the status and the answer."""
    host, _, port = front.url.removeprefix("http://").partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        path = "/2015-03-31/functions/small/invocations"
        connection.request("POST", path, json.dumps(event), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


def test_an_environment_outlives_the_connection_that_started_it(program: Program) -> None:
    with serving(program, limit=1) as front:
        _, failed = post(front, {"exec": "import os; os._exit(1)"})
        assert failed["errorType"] == "Runtime.ExitError"
        assert [post(front, {})[1]["calls"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("context", "status"),
    [
        (b'{\n  "custom": {"word": "\xd0\x96\xc3\xa9"}\n}', 200),
        (b"no JSON", 400),
    ],
)
def test_a_client_context_is_json_however_it_is_written(
    program: Program, context: bytes, status: int
) -> None:
    code = "answer = context.client_context.custom['word']"
    header = base64.b64encode(context).decode()
    with serving(program) as front:
        found = post(front, {"exec": code}, **{"X-Amz-Client-Context": header})
    assert found[0] == status
    assert found[1] == "Жé" or status == 400


def test_asynchronous_events_wait_for_an_environment(program: Program, tmp_path: Path) -> None:
    with serving(program, limit=1) as front:
        for number in range(3):
            code = f"open('/tmp/seen', 'a').write('{number}')"
            assert post(front, {"exec": code}, **{"X-Amz-Invocation-Type": "Event"})[0] == 202
        read = {"exec": "answer = open('/tmp/seen').read() if os.path.exists('/tmp/seen') else ''"}
        read["exec"] = "import os\n" + read["exec"]
        end = time.monotonic() + 20
        seen: Any = ""
        while time.monotonic() < end and len(seen) < 3:
            status, found = post(front, read)
            seen = found if status == 200 else seen
    assert sorted(seen) == ["0", "1", "2"]


STARTS = """
import sys
from pathlib import Path
from layerpack.emulator.sandbox import Program, Settings, start
runtime, *folders = sys.argv[1:]
opt, task, client, interpreter = map(Path, folders)
places = {"opt": opt, "task": task, "client": client, "interpreter": interpreter}
program = Program(name="small", runtime=runtime, handler="app.handler", **places)
start(program, Settings(), "process").wait()
"""


def test_a_function_without_isolation_ends_where_layerpack_is_killed(
    program: Program, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "started")
    (program.task / "app.py").write_text(
        f"import os, signal\nopen({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid()))\n"
        "signal.pause()\n"
    )
    folders = (program.opt, program.task, program.client, program.interpreter)
    command = [sys.executable, "-c", STARTS, program.runtime, *map(str, folders)]
    with subprocess.Popen(command) as killed:
        opened = os.pidfd_open(int((tmp_path / "started").read_text()))
        killed.kill()
    ended = select.select([opened], [], [], 30)[0] == [opened]
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(opened, signal.SIGKILL)
    os.close(opened)
    assert ended
