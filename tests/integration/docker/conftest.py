"""The engine and the stand-in image, once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.events import Events
from layerpack.limits import RuntimeProfile
from tests.support.engine import RUNTIME, Engine, stand_in_archive

PROFILE = RuntimeProfile.load(RUNTIME, "x86_64")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine; these tests fail where none answers."""
    return Engine()


@pytest.fixture(scope="session")
def stand_in(engine: Engine, pytestconfig: pytest.Config) -> Iterator[str]:
    """The stand-in image's name; it is removed at the end, its file stays in pytest's cache."""
    assert pytestconfig.cache is not None
    archive = stand_in_archive(pytestconfig.cache.mkdir("engine"))
    # The tag stands in the name: Podman knows no parameter for it.
    name = f"layerpack-tests/stand-in:{archive.stem}"
    with archive.open("rb") as stream:
        engine.client.api.import_image_from_data(stream, repository=name)
    yield name
    engine.client.images.remove(name, force=True)


@pytest.fixture(scope="session")
def client_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with AWS's client for the stand-in's Python in it."""
    cache = Cache(tmp_path_factory.mktemp("client") / "cache")
    runtime_folder(PROFILE, cache, Events())
    return cache


@pytest.fixture(autouse=True)
def nothing_is_left(engine: Engine) -> Iterator[None]:
    """After every test the engine has no container of ours that it had not before."""
    before = {container.id for container in engine.containers()}
    yield
    assert {container.id for container in engine.containers()} <= before
