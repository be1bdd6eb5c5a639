"""Building in an engine that is elsewhere, as DOCKER_HOST says, and whose connection may break."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from layerpack.builders.docker_container import Container
from layerpack.docker_engine import connect, need_image
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile
from tests.integration.docker.remote import remote
from tests.support.command import layerpack, start
from tests.support.engine import OFFLINE, RUNTIME, Engine, locked_source, reached, until
from tests.support.wheels import make_sdist

pytestmark = pytest.mark.engine

WAIT = "import pathlib, time; pathlib.Path('/tmp/reached').touch(); time.sleep(600)"


def test_a_remote_engine_builds(tmp_path: Path, engine: Engine, stand_in: str) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "simple"))
    with remote() as connection, engine.counting() as made:
        ended = layerpack(
            *("build", "recipe.yaml", "--base-image", stand_in, "--verbose"),
            folder=tmp_path,
            cache=tmp_path / "cache",
            extra={**OFFLINE, "DOCKER_HOST": connection.address},
        )
    assert ended.code == 0, ended.errors
    assert len(made) == 1
    # The tools' lines come through it.
    assert "\n  Building wheels for collected packages: simple\n" in ended.errors
    manifest = json.loads((tmp_path / "build/small/manifest.json").read_text())
    assert [one["kind"] for one in manifest["distributions"]] == ["source"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_cancelled_while_its_container_is_made_leaves_none(
    tmp_path: Path, engine: Engine, stand_in: str, number: int, code: int
) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "simple"))
    with remote() as connection, engine.counting() as made:
        connection.hold(b"/containers/create?")
        process = start(
            *("build", "recipe.yaml", "--base-image", stand_in),
            folder=tmp_path,
            cache=tmp_path / "cache",
            extra={**OFFLINE, "DOCKER_HOST": connection.address},
        )
        until(connection.held.is_set)
        until(engine.containers)
        process.send_signal(number)
        # It has to wait for the answer, which tells what to remove.
        connection.go_on()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert len(made) == 1
    assert engine.containers() == []


def test_a_connection_that_breaks_is_told_and_the_engine_removes_the_container(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "slowly", statement=WAIT))
    with remote() as connection:
        process = start(
            *("build", "recipe.yaml", "--base-image", stand_in),
            folder=tmp_path,
            cache=tmp_path / "cache",
            extra={**OFFLINE, "DOCKER_HOST": connection.address},
        )
        until(lambda: reached(engine))
        connection.cut()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 6
    assert errors.splitlines()[1:] == [
        "error: building slowly==1.0 failed: the container engine no longer answers: Connection "
        "refused",
        "  See whether it still runs: `layerpack doctor` asks it.",
    ]
    until(lambda: not engine.containers(), 30)


def test_output_that_comes_with_the_answers_head_is_not_lost(
    tmp_path: Path, engine: Engine, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote() as connection:
        connection.joins = True
        monkeypatch.setenv("DOCKER_HOST", connection.address)
        with container_of(stand_in, tmp_path) as container:
            result = container.run(["/bin/sh", "-c", "echo first; echo error >&2; echo second"])
    assert (result.returncode, result.output, result.errors) == (0, "first\nsecond\n", "error\n")


def test_a_container_that_is_ended_from_outside_is_told(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    with container_of(stand_in, tmp_path) as container:
        api = engine.client.api
        (one,) = api.containers(filters={"label": "layerpack", "status": "running"})
        killer = threading.Thread(target=api.kill, args=(one["Id"],))
        with pytest.raises(BuildToolError, match="the container was ended from outside"):
            container.run(
                ["/bin/sh", "-c", "echo here; sleep 600"], on_line=lambda line: killer.start()
            )
        killer.join()
    # The engine removes it by itself.
    until(lambda: not engine.containers(), 30)


def test_no_secret_is_in_the_containers_configuration_or_the_engines_events(
    engine: Engine, stand_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = {"default": {"httpProxy": "http://user:s3cret@proxy:3128"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    since = engine.client.info()["SystemTime"]
    index = ("--index-url", "https://user:s3cret@host/simple")
    with container_of(stand_in, tmp_path) as container:
        names = "HTTP_PROXY", "PIP_INDEX_URL"
        code = f"import os; print(*(os.environ[name].count('s3cret') for name in {names}))"
        result = container.run(["python3", "-c", code, *index])
        shown = json.dumps(engine.running().attrs)
    assert result.output == "1 1\n"
    assert "s3cret" not in shown
    until_ = engine.client.info()["SystemTime"]
    events = engine.client.api.events(since=_seconds(since), until=_seconds(until_), decode=True)
    assert "s3cret" not in json.dumps(list(events))


def _seconds(told: str) -> int:
    return int(datetime.fromisoformat(told[:19] + "+00:00").timestamp())


@contextmanager
def container_of(image: str, folder: Path) -> Iterator[Container]:
    """A container of the stand-in, in the engine that the environment names."""
    engine = connect(folder / "owners")
    profile = RuntimeProfile.load(RUNTIME, "x86_64")
    found = need_image(engine, image, profile, lambda _: None, lambda *_: None)
    container = Container(engine, found, profile)
    try:
        yield container
    finally:
        container.close()
        engine.close()
