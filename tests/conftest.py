"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerpack.cache import Cache
from tests.support.index import LocalIndex


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache of the test's own."""
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="session")
def _uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def index(_uv_cache: Path) -> Iterator[LocalIndex]:
    """An empty package index on 127.0.0.1; no setting of this machine adds another one."""
    with _served(_uv_cache) as served:
        yield served


@pytest.fixture(scope="module")
def shared_index(_uv_cache: Path) -> Iterator[LocalIndex]:
    """One for all tests of a module."""
    with _served(_uv_cache) as served:
        yield served


@contextmanager
def _served(uv_cache: Path) -> Iterator[LocalIndex]:
    with pytest.MonkeyPatch.context() as patch, LocalIndex() as served:
        for name in list(os.environ):
            if name.startswith(("PIP_", "UV_")):
                patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("UV_NO_CONFIG", "1")
        patch.setenv("UV_CACHE_DIR", str(uv_cache))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield served
