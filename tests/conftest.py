"""Fixtures that several tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.events import Events
from layerpack.limits import RuntimeProfile
from tests.support.command import end_started
from tests.support.compilers import SHARED
from tests.support.index import LocalIndex, served_alone
from tests.support.recipes import HERE

# A shell starts what runs in the background with interrupts ignored, and programs that the tests
# start and interrupt would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Set by `pytest_configure` in the process that owns the folder.
_OWNED = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for what is compiled in this session; the workers of xdist inherit it."""
    if SHARED not in os.environ:
        config.stash[_OWNED] = os.environ[SHARED] = tempfile.mkdtemp(prefix="layerpack-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder."""
    if folder := config.stash.get(_OWNED, None):
        del os.environ[SHARED]
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests time to wait for what is built or set up but once: a whole recipe, say."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ("recipe", "roots", "engine")):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """End what the test left running, before its fixtures end (an index, an engine)."""
    end_started()


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
    shared = Path(os.environ[SHARED], "emulator")
    shared.mkdir(exist_ok=True)
    cache = Cache(tmp_path_factory.mktemp("emulator") / "cache")
    # Workers of xdist wait for the first one, and copy what it made.
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runtime_folder(RuntimeProfile.load(HERE, "x86_64"), Cache(shared / "cache"), Events())
        shutil.copytree(shared / "cache", cache.root, symlinks=True)
    return cache
