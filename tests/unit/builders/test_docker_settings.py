"""What a container gets of this machine's settings, held against pip itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.builders.docker_settings import CA_VARIABLES, Settings, passed_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor files of this machine count."""
    for name in os.environ:
        if name.upper().endswith("_PROXY") or name.startswith("PIP_") or name in CA_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.delenv("MAX_JOBS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    # pip reads the user's and the system's files beside it.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))


def added(before: Settings) -> dict[str, str]:
    """The variables that are passed now, and were not: pip always reads /etc/pip.conf, too."""
    now = passed_settings().variables
    return {name: value for name, value in now.items() if before.variables.get(name) != value}


def configure(folder: Path, text: str) -> None:
    """Write pip's configuration."""
    (folder / "pip.conf").write_text(text)


def test_pips_files_count_and_its_variables_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = passed_settings()
    configure(
        tmp_path,
        "[global]\nindex-url = https://one/simple\ntimeout = 5\nretries = 2\n"
        "[install]\nretries = 3\nno-deps = true\n[freeze]\ntimeout = 9\n",
    )
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    assert added(before) == {
        "PIP_INDEX_URL": "https://one/simple",
        "PIP_TIMEOUT": "7",
        "PIP_RETRIES": "3",
    }


def test_folders_of_this_machine_are_left_out(tmp_path: Path) -> None:
    before = passed_settings()
    configure(
        tmp_path,
        "[global]\nindex-url = file:///srv/simple\nfind-links = /srv/wheels\n"
        "extra-index-url =\n    file:///srv/more\n    https://two/simple\n    https://three/simple\n",
    )
    assert added(before) == {"PIP_EXTRA_INDEX_URL": "https://two/simple https://three/simple"}


def test_proxies_are_passed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = passed_settings()
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:secret@proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("OTHER", "x")
    assert added(before) == {
        "HTTPS_PROXY": "http://somebody:secret@proxy:3128",
        "no_proxy": "localhost",
    }


def test_the_bundle_is_that_of_the_most_particular_name_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("configured", "general", "pips"):
        (tmp_path / name).touch()
    configure(tmp_path, f"[global]\ncert = {tmp_path / 'configured'}\n")
    assert passed_settings().ca_bundle == tmp_path / "configured"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "general"))
    assert passed_settings().ca_bundle == tmp_path / "general"
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "pips"))
    assert passed_settings().ca_bundle == tmp_path / "pips"
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone"))
    assert passed_settings().ca_bundle is None
