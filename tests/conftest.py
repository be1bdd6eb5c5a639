"""Fixtures that several tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.events import Events
from layerpack.limits import RuntimeProfile
from tests.support.index import LocalIndex, served_alone
from tests.support.recipes import HERE

# A shell starts what runs in the background with interrupts ignored, and programs that the tests
# start and interrupt would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache of the test's own."""
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache, for all indexes of the tests."""
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def index(uv_cache: Path) -> Iterator[LocalIndex]:
    """An empty package index on 127.0.0.1; no setting of this machine adds another one."""
    with served_alone(uv_cache) as served:
        yield served


@pytest.fixture(scope="module")
def shared_index(uv_cache: Path) -> Iterator[LocalIndex]:
    """One for all tests of a module."""
    with served_alone(uv_cache) as served:
        yield served


@pytest.fixture(scope="session")
def emulator_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with AWS's client in it: it comes from the package index, once for all tests."""
    cache = Cache(tmp_path_factory.mktemp("emulator") / "cache")
    runtime_folder(RuntimeProfile.load(HERE, "x86_64"), cache, Events())
    return cache
