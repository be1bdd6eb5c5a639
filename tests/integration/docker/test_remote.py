"""Building in an engine that is elsewhere, as DOCKER_HOST says, and whose connection may break."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.integration.docker.remote import remote
from tests.support.command import layerpack, start
from tests.support.engine import OFFLINE, Engine, locked_source, reached, until
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
