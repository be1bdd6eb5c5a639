"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
def index(monkeypatch: pytest.MonkeyPatch, _uv_cache: Path) -> Iterator[LocalIndex]:
    """An empty package index on 127.0.0.1; no setting of this machine adds another one."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(_uv_cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LocalIndex() as served:
        yield served
