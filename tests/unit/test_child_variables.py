"""Variables of the programs that layerpack starts."""

from __future__ import annotations

import pytest

from layerpack.builders.source import local_toolchain
from layerpack.child_variables import building_variables


@pytest.mark.parametrize(
    "name",
    [
        *("PIP_CONFIG_SETTINGS", "PIP_NO_BUILD_ISOLATION", "PIP_GLOBAL_OPTION", "PIP_CONSTRAINT"),
        *("UV_PUBLISH_TOKEN", "UV_PUBLISH_PASSWORD", "UV_CONFIG_SETTINGS", "UV_NO_BUILD_ISOLATION"),
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_building_gets_no_setting_that_no_key_has(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert name not in building_variables()


@pytest.mark.parametrize(
    "name",
    [
        *("PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "PIP_CLIENT_CERT", "PIP_TIMEOUT"),
        *("UV_DEFAULT_INDEX", "UV_INDEX_MINE_PASSWORD", "UV_CACHE_DIR", "UV_NO_CONFIG"),
        *("HTTPS_PROXY", "XDG_CONFIG_HOME", "CFLAGS"),
    ],
)
def test_building_gets_the_settings_of_indexes_and_compilers(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert building_variables()[name] == "1"


@pytest.mark.parametrize("name", ["CFLAGS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"])
def test_what_compiling_depends_on_is_in_its_key(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    before = local_toolchain()
    monkeypatch.setenv(name, "1")
    assert local_toolchain() != before
