"""Workloads, run by a real interpreter on a payload that is laid out as on Lambda."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerpack import workload
from layerpack.lambda_variables import CREDENTIALS
from layerpack.payload import entries_of
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Cpu, Mxnet, Verify
from layerpack.workload import Outcome, network_hint, record, run_workloads, workloads_key
from tests.support.recipes import HERE, minimal, payload_in

MORE = """\
function: {source: code, handler: app.handler}
workloads:
  - {name: first, event: first.json}
  - {name: second, event: second.json}
"""
#: Writes what it sees beside itself, and leaves a line in the trace as the pager does.
HANDLER = """\
import json, os, sys
from pathlib import Path
import alpha

SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
SEEN = Path(os.environ["HOME"], "..", "seen").resolve()


def handler(event, context):
    with SEEN.open("a") as stream:
        json.dump({
            "event": event,
            "alpha": alpha.__file__,
            "outside": [p for p in sys.path if "site-packages" in p],
            "left": context.get_remaining_time_in_millis(),
            "task": os.getcwd(),
            "variables": sorted(os.environ),
            "secret": SECRET,
        }, stream)
        stream.write("\\n")
    with open(os.environ["LAYERPACK_TRACE"], "a") as stream:
        for line in event.get("trace", []):
            stream.write(line)
    if "fail" in event:
        raise ValueError("no such\\nthing")
    if "exit" in event:
        os._exit(9)
"""


def project(folder: Path, handler: str = HANDLER, **events: str) -> Recipe:
    """A recipe with a function and two events."""
    (folder / "code").mkdir(parents=True)
    (folder / "code/app.py").write_text(handler)
    for name in ("first", "second"):
        (folder / f"{name}.json").write_text(events.get(name, "{}"))
    return Recipe.load(minimal(folder, runtime=HERE, more=MORE))


def run(recipe: Recipe, folder: Path, provided: Path | None = None) -> tuple[Outcome, ...]:
    """Run the workloads of `project` on a payload of one module."""
    scratch = folder / "scratch"
    scratch.mkdir()
    return run_workloads(
        recipe,
        payload_in(folder / "files", {"python/alpha.py": "VALUE = 1\n"}),
        tuple(entries_of(recipe.folder / "code", ".", "function")),
        interpreter=Path(sys.executable),
        scratch=scratch,
        environment={"LAYERPACK_TRACE": str(folder / "trace")},
        provided=provided,
    ).outcomes


def test_the_handler_sees_the_layers_and_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = project(tmp_path / "r", first='{"a": 1}', second='{"b": 2}')
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    outcomes = run(recipe, tmp_path)
    assert outcomes == (Outcome(name="first", error=""), Outcome(name="second", error=""))
    seen = [json.loads(line) for line in (tmp_path / "scratch/seen").open()]
    assert [one["event"] for one in seen] == [{"a": 1}, {"b": 2}]
    assert seen[0]["alpha"] == str(tmp_path / "scratch/opt/python/alpha.py")
    assert seen[0]["outside"] == []
    assert 0 < seen[0]["left"] <= 300_000
    assert seen[0]["secret"] == CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    variables = {"LD_LIBRARY_PATH", "LAMBDA_TASK_ROOT", "TZ", "PYTHONPATH", "_X_AMZN_TRACE_ID"}
    assert variables <= set(seen[0]["variables"])
    assert seen[0]["task"] == str(tmp_path / "scratch/task")


def test_a_handler_that_raises_is_told_and_the_next_event_comes(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", first='{"fail": 1}')
    assert run(recipe, tmp_path) == (
        Outcome(name="first", error="ValueError: no such thing"),
        Outcome(name="second", error=""),
    )


def test_a_function_that_does_not_import_is_told(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", handler="import beta\n")
    outcomes = run(recipe, tmp_path)
    assert [one.error for one in outcomes] == [
        "the function fails on import: ModuleNotFoundError: No module named 'beta'"
    ] * 2


def test_what_the_runtime_brings_is_found_after_the_layers(tmp_path: Path) -> None:
    provided = tmp_path / "provided"
    provided.mkdir()
    (provided / "beta.py").write_text("")
    (provided / "alpha.py").write_text("raise ImportError\n")
    handler = "import alpha, beta\ndef handler(event, context): pass\n"
    recipe = project(tmp_path / "r", handler=handler)
    assert [one.error for one in run(recipe, tmp_path, provided)] == ["", ""]


def test_a_function_that_ends_the_process_is_told(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", first='{"exit": 1}')
    outcomes = run(recipe, tmp_path)
    assert all(one.error.startswith("the process ended with 9") for one in outcomes)


def test_the_trace_becomes_a_recording(tmp_path: Path) -> None:
    one, other, foreign = "a" * 64, "b" * 64, "c" * 64
    lines = f'["{one} 7\\n", "{other} 1\\n", "{one} 3\\n", "{one} 7\\n", "{foreign} 2\\n", "{one}"]'
    recipe = project(tmp_path / "r", first=f'{{"trace": {lines}}}')
    function = tuple(entries_of(recipe.folder / "code", ".", "function"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    recording, outcomes = record(
        recipe,
        payload_in(tmp_path / "files", {"python/alpha.py": ""}),
        function,
        interpreter=Path(sys.executable),
        libraries={one: "python/one.so", other: "python/other.so", "d" * 64: "python/idle.so"},
        scratch=scratch,
    )
    assert not any(outcome.error for outcome in outcomes)
    assert recording.key == workloads_key(recipe, function)
    # A page once, in the order of first use; a line that was cut off does not count.
    assert recording.pages == {one: (7, 3), other: (1,), "d" * 64: ()}


def test_the_key_changes_with_what_runs(tmp_path: Path) -> None:
    keys = set()
    for name, handler, event in (
        ("a", HANDLER, "{}"),
        ("b", HANDLER + "\n", "{}"),
        ("c", HANDLER, '{"x": 1}'),
    ):
        recipe = project(tmp_path / name, handler=handler, second=event)
        function = tuple(entries_of(recipe.folder / "code", ".", "function"))
        keys.add(workloads_key(recipe, function))
    assert len(keys) == 3


def test_it_changes_with_models_and_modules_where_operators_stay_by_it(tmp_path: Path) -> None:
    recipe = project(tmp_path)
    recorded = recipe.model_copy(update={"mxnet": Mxnet(operators=("recorded", "topk"))})
    function = tuple(entries_of(recipe.folder / "code", ".", "function"))
    keys: dict[str, set[str]] = {"all": set(), "recorded": set()}
    for number, files in enumerate(
        (
            {"assets/net/net.params": "a", "python/alpha.py": "a", "python/x.so": "a"},
            {"assets/net/net.params": "b", "python/alpha.py": "a", "python/x.so": "a"},
            {"assets/net/net.params": "a", "python/alpha.py": "b", "python/x.so": "a"},
            # Libraries are told by their pages.
            {"assets/net/net.params": "a", "python/alpha.py": "a", "python/x.so": "b"},
        )
    ):
        payload = payload_in(tmp_path / str(number), dict(files))
        keys["all"].add(workloads_key(recipe, function, payload))
        keys["recorded"].add(workloads_key(recorded, function, payload))
    assert (len(keys["all"]), len(keys["recorded"])) == (1, 3)


#: Both keep an interpreter from exiting.
HANGING = """\
import atexit, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
atexit.register(time.sleep, 1000)


def handler(event, context):
    print("answered")
"""


def test_the_worker_ends_after_the_last_answer_whatever_still_runs(tmp_path: Path) -> None:
    # A worker that waited would be killed later, and its workloads would have errors.
    recipe = project(tmp_path / "r", handler=HANGING)
    assert [one.error for one in run(recipe, tmp_path)] == ["", ""]


@pytest.mark.timeout(60)
def test_a_function_that_cancels_the_workers_limit_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "_SECONDS", 1)
    monkeypatch.setattr(workload, "_MARGIN", 1)
    endless = "import faulthandler, signal\n\ndef handler(event, context):\n"
    endless += "    faulthandler.cancel_dump_traceback_later()\n    signal.pause()\n"
    outcomes = run(project(tmp_path / "r", endless), tmp_path)
    assert [one.name for one in outcomes] == ["first", "second"]
    assert all("has not ended after 2 s" in one.error for one in outcomes)
    assert not (tmp_path / "scratch/opt").exists()


def test_it_ends_where_the_function_does_not_import(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", handler=HANGING + "import beta\n")
    assert all("beta" in one.error for one in run(recipe, tmp_path))


CONNECTS = """\
import socket


def handler(event, context):
    with socket.create_server(("127.0.0.1", 0)) as own:
        socket.create_connection(own.getsockname()).close()
    socket.create_connection(("127.0.0.1", event["port"])).close()
"""


@pytest.mark.parametrize("network", [False, True])
def test_workloads_reach_the_network_if_the_recipe_asks(tmp_path: Path, network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        event = json.dumps({"port": server.getsockname()[1]})
        recipe = project(tmp_path / "r", handler=CONNECTS, first=event, second=event)
        asked = recipe.model_copy(update={"verify": Verify(network=network)})
        outcomes = run(asked, tmp_path)
    assert [bool(one.error) for one in outcomes] == [not network] * 2
    # Its own loopback is there: what fails is the connection to this machine.
    hints = [network_hint(asked, one.error) for one in outcomes]
    assert ["verify" in hint for hint in hints] == [not network] * 2
    assert not network_hint(asked, "ValueError: no such thing")


def record_in(folder: Path, warn: Callable[[str], None]) -> None:
    """Record the workloads of `project`, at two levels of the processor."""
    recipe = project(folder / "r", handler="def handler(event, context): pass\n")
    (folder / "scratch").mkdir()
    record(
        recipe.model_copy(update={"cpu": Cpu(x86_64=("baseline", "avx2"))}),
        payload_in(folder / "files", {"python/alpha.py": ""}),
        tuple(entries_of(recipe.folder / "code", ".", "function")),
        interpreter=Path(sys.executable),
        libraries={},
        scratch=folder / "scratch",
        warn=warn,
    )


def test_a_recording_that_reaches_the_network_warns_once(tmp_path: Path) -> None:
    code = "from tests.integration.test_workload import *; record_in(Path(sys.argv[1]), print)"
    limits = ("max_net_namespaces", "max_user_namespaces")
    told = []
    for refused in ("", "; ".join(f"echo 0 > /proc/sys/user/{name}" for name in limits)):
        folder = tmp_path / ("refused" if refused else "allowed")
        folder.mkdir()
        script = f'{refused or ":"}; exec "$@"'
        ended = subprocess.run(
            [
                *("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"),
                *(sys.executable, "-c", code, folder),
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(ended.stdout)
    assert told[0] == ""
    assert told[1].count("the workloads could reach the network") == 1


def test_a_recording_with_the_network_is_another(tmp_path: Path) -> None:
    recipe = project(tmp_path)
    asked = recipe.model_copy(update={"verify": Verify(network=True)})
    assert workloads_key(recipe, ()) != workloads_key(asked, ())


SHARES = """\
import multiprocessing, os, random


def handler(event, context):
    assert sorted(os.listdir("/dev")) == sorted(event["devices"])
    with open("/dev/null", "w") as file:
        file.write("nothing")
    assert len(os.urandom(8)) == 8
    assert os.readlink("/dev/fd") == "/proc/self/fd"
    # A process that only has a pipe works, as on Lambda.
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=theirs.send, args=(7,))
    process.start()
    assert ours.recv() == 7
    process.join()
    if event["locks"]:
        multiprocessing.Lock()
"""


@pytest.mark.parametrize("network", [False, True])
def test_workloads_have_no_shared_memory_as_on_lambda(tmp_path: Path, network: bool) -> None:
    assert Path("/dev/shm").is_dir()
    devices = ("null", "zero", "full", "random", "urandom", "tty")
    names = [*(n for n in devices if Path("/dev", n).exists()), "fd", "stdin", "stdout", "stderr"]
    first, second = (json.dumps({"devices": names, "locks": locks}) for locks in (False, True))
    recipe = project(tmp_path / "r", handler=SHARES, first=first, second=second)
    asked = recipe.model_copy(update={"verify": Verify(network=network)})
    quiet, failed = run(asked, tmp_path)
    assert quiet.error == ""
    # Which of them depends on glibc's version.
    assert failed.error.startswith(("OSError: [Errno 38]", "FileNotFoundError: [Errno 2]"))
    # This machine's is as it was.
    assert Path("/dev/shm").is_dir()


def test_workloads_run_from_shared_memory() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        recipe = project(Path(folder) / "r")
        assert {one.error for one in run(recipe, Path(folder))} == {""}
