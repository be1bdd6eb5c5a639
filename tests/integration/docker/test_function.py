"""Functions that run in containers: what they find, how they end, and that nothing is left."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layerpack.cache import Cache
from layerpack.docker_engine import Image, connect, need_image
from layerpack.emulator.docker import Carrier
from layerpack.emulator.environment import Environment
from layerpack.emulator.image_system import ImageSystem
from layerpack.emulator.sandbox import CannotIsolateError, Program, Settings
from layerpack.lambda_variables import CREDENTIALS
from tests.integration.docker.conftest import PROFILE
from tests.integration.emulator.conftest import Log, program_in
from tests.integration.emulator.test_invoke import FINDS, ask, error_of, run
from tests.integration.emulator.test_verify import project
from tests.support.command import layerpack, start
from tests.support.engine import RUNTIME, Engine, until
from tests.support.index import LocalIndex

pytestmark = pytest.mark.engine

Begin = Callable[..., Environment]


@pytest.fixture
def program(tmp_path: Path, client_cache: Cache) -> Program:
    """A function that does what its event says."""
    return program_in(tmp_path / "program", client_cache, runtime=RUNTIME)


@pytest.fixture
def image(stand_in: str, tmp_path: Path) -> Image:
    """The stand-in, as layerpack finds it."""
    with closing(connect(tmp_path / "owners")) as engine:
        return need_image(engine, stand_in, PROFILE, lambda step: None, lambda done, total: None)


@pytest.fixture
def begin(engine: Engine, program: Program, image: Image, tmp_path: Path) -> Iterator[Begin]:
    """Starts environments of the function, and ends them."""
    before = volumes(engine)
    with (
        closing(connect(tmp_path / "owners")) as connected,
        closing(ImageSystem(connected, image, PROFILE)) as system,
        closing(Carrier(system, program)) as carrier,
    ):
        begun: list[Environment] = []

        def begin(log: Log | None = None, **settings: Any) -> Environment:
            configured = Settings(**{"timeout": 20.0, **settings})
            sink = (Log() if log is None else log).extend
            begun.append(Environment(program, configured, carrier.start, sink))
            return begun[-1]

        yield begin
        for environment in begun:
            environment.close()
    assert volumes(engine) <= before


def volumes(engine: Engine) -> set[str]:
    """The engine's volumes."""
    return {volume.name for volume in engine.client.volumes.list()}


def test_the_function_finds_what_lambda_has(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    found = run(begin(tmp_mb=600, variables={"MODE": "test"}), FINDS)
    assert found["user"] == [993, 990]
    site = f"/opt/python/lib/{program.runtime}/site-packages"
    assert found["path"][:3] == ["/var/task", site, "/opt/python"]
    assert found["path"][-1] == "/var/runtime"
    assert not [path for path in found["path"] if "dist-packages" in path]
    assert found["cwd"] == "/var/task"
    # Read-only file systems.
    assert found["refused"] == [30] * 5
    assert found["tmp"] == [None, 600 * 2**20]
    assert "shm" not in found["dev"] and {"null", "urandom"} <= set(found["dev"])
    assert max(found["processes"]) < 20
    assert found["capabilities"] == ["0000000000000000"] and found["privileges"] == ["1"]
    assert CREDENTIALS.items() <= found["variables"].items()
    assert found["variables"]["MODE"] == "test"
    assert found["variables"]["LD_LIBRARY_PATH"].endswith(":/var/task/lib:/opt/lib")
    assert found["alpha"] == 7


@pytest.mark.parametrize("network", [True, False])
def test_the_network_can_be_cut_off(begin: Begin, network: bool) -> None:
    names = run(
        begin(network=network), "import socket; answer = [n for _, n in socket.if_nameindex()]"
    )
    assert "lo" in names
    assert (names == ["lo"]) != network


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("raise ValueError('no such thing')", "ValueError", "no such thing"),
        ("import os; os._exit(3)", "Runtime.ExitError", "exit status 3"),
        ("import ctypes; ctypes.string_at(0)", "Runtime.ExitError", "signal: segmentation fault"),
        ("while True: pass", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
        (
            "kept = []\nwhile True: kept.append(b'x' * 10_000_000)",
            "Runtime.OutOfMemory",
            "signal: killed",
        ),
        ("import multiprocessing; multiprocessing.Pool(2)", "FileNotFoundError", "No such file"),
        ("answer = 'x' * 6_300_000", "Function.ResponseSizeTooLarge", "6291556 bytes"),
    ],
)
def test_failures_are_lambdas_and_the_next_event_is_answered(
    begin: Begin, code: str, kind: str, message: str
) -> None:
    environment = begin(timeout=2.0 if "while True: pass" in code else 60.0, memory_mb=256)
    failed = ask(environment, {"exec": code})
    assert failed.error_type == kind
    assert message in error_of(failed)["errorMessage"]
    assert not ask(environment, {}).error_type


def test_what_is_printed_and_sent_arrives_whole_and_in_its_place(begin: Begin) -> None:
    log = Log()
    environment = begin(log, timeout=120.0)
    event = {"print": 20_000, "text": "é" * 1_000_000}
    answer = ask(environment, event)
    assert json.loads(answer.payload) == {"calls": 1, "event": event}
    before, _, rest = log.text.partition("END RequestId")
    assert before.count("x" * 1023 + "\n") == 20_000
    assert "x" * 1023 not in rest
    assert answer.init_ms is not None and 5 < answer.memory_mb < 200


def test_an_image_without_that_python_is_told(image: Image, engine: Engine, tmp_path: Path) -> None:
    before = volumes(engine)
    other = replace(PROFILE, runtime="python3.12")
    with (
        closing(connect(tmp_path / "owners")) as connected,
        pytest.raises(CannotIsolateError, match=r"python3\.12: not found"),
    ):
        ImageSystem(connected, image, other)
    assert volumes(engine) <= before


@pytest.fixture
def built(
    tmp_path: Path, client_cache: Cache, index: LocalIndex, stand_in: str
) -> Callable[..., Any]:
    """Builds a recipe in the stand-in, verified or not: `body` is what a pass of its own does."""

    def built(body: str = "", verify: str = "--verify") -> Any:
        project(tmp_path, index, body, runtime=RUNTIME)
        # The index is this machine's own: no container reaches it.
        lock = ("lock", "recipe.yaml", "--builder", "local")
        assert layerpack(*lock, folder=tmp_path, cache=client_cache.root).code == 0
        return layerpack(
            *("build", "recipe.yaml", "--builder", "docker", "--base-image", stand_in, verify),
            folder=tmp_path,
            cache=client_cache.root,
        )

    return built


def test_a_build_in_an_image_is_proven_and_invoked_there(
    built: Callable[..., Any], tmp_path: Path, client_cache: Cache, engine: Engine
) -> None:
    before = volumes(engine)
    ended = built()
    assert ended.code == 0, ended.errors
    proof = json.loads((tmp_path / "build/small/manifest.json").read_text())["verified"]
    assert (proof["state"], proof["isolation"]) == ("verified", "docker")
    assert proof["python"].startswith("3.13.")
    assert list(proof["not_importable"]) == ["broken"]
    assert [one["equal"] for one in proof["workloads"]] == [True]
    for option in ((), ("--isolation", "docker"), ("--isolation", "namespaces")):
        invoked = layerpack(
            *("invoke", "build/small", "--event", "ask.json", *option),
            folder=tmp_path,
            cache=client_cache.root,
        )
        assert invoked.code == 0, invoked.errors
        assert json.loads(invoked.output) == {"value": 1.5, "event": {"a": 1}}
    none = layerpack(
        *("invoke", "build/small", "--event", "ask.json", "--image", "layerpack-tests/none:1"),
        folder=tmp_path,
        cache=client_cache.root,
    )
    assert none.code == 6 and "layerpack-tests/none:1 cannot be pulled" in none.errors
    assert "--image names another image" in none.errors
    assert volumes(engine) <= before


def test_what_breaks_the_answer_in_an_image_is_named(
    built: Callable[..., Any],
) -> None:
    ended = built("if name == 'alpha/value.txt': yield Remove(path=entry.path, reason='x')")
    assert ended.code == 7
    assert "The pass 'own' does it, by python/alpha/value.txt" in ended.errors


def test_a_server_that_is_killed_leaves_nothing(
    built: Callable[..., Any], tmp_path: Path, client_cache: Cache, engine: Engine
) -> None:
    assert built(verify="--no-verify").code == 0
    before = volumes(engine)
    process = start(
        *("serve", "build/small", "--port", "0"), folder=tmp_path, cache=client_cache.root
    )
    assert process.stdout is not None
    assert "small at http://" in process.stdout.readline()
    # One with the image's system, one with the files, one that runs.
    assert len(engine.containers()) == 3
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not engine.containers() and volumes(engine) <= before)


@pytest.mark.parametrize("first", [0, -1])
def test_volumes_go_with_the_last_container_whichever_that_is(
    built: Callable[..., Any], tmp_path: Path, client_cache: Cache, engine: Engine, first: int
) -> None:
    assert built(verify="--no-verify").code == 0
    before = volumes(engine)
    process = start(
        *("serve", "build/small", "--port", "0"), folder=tmp_path, cache=client_cache.root
    )
    assert process.stdout is not None
    assert "small at http://" in process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    containers = sorted(engine.containers(), key=lambda made: made.attrs["Created"])
    while containers:
        # As the engine does by itself for one that ended.
        containers.pop(first).remove(v=True, force=True)
    assert volumes(engine) <= before
