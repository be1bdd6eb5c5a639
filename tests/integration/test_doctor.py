"""`layerpack doctor`: what is there is found, what is secret is not shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.command import layerpack

SECRET = "s3cr3t"


def checks(tmp_path: Path, extra: dict[str, str]) -> dict[str, dict[str, str]]:
    """What it finds, by name, in a home of its own and without an engine."""
    home = {"HOME": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:9", **extra}
    arguments = ("doctor", "--format", "json")
    ended = layerpack(*arguments, folder=tmp_path, cache=tmp_path / "no/cache", extra=home)
    assert (ended.code, ended.errors) == (0, "")
    assert SECRET not in ended.output
    return {one["name"]: one for one in json.loads(ended.output)}


def test_what_is_there_is_found(tmp_path: Path) -> None:
    found = checks(tmp_path, {"CC": "no-such-compiler", "CXX": sys.executable})
    engine = found["container engine"]
    assert engine["status"] == "missing"
    assert "tcp://127.0.0.1:9 (from DOCKER_HOST) does not answer" in engine["detail"]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    own = found[f"Python {version}"]
    assert own["status"] == "found"
    assert own["detail"].startswith(f"{version}.{sys.version_info[2]} at ")
    assert found["C compiler"]["detail"] == "no no-such-compiler on PATH"
    assert found["C++ compiler"]["detail"].startswith(f"Python {version}.")
    assert found["uv"]["detail"].startswith("uv ")
    assert found["disk"]["detail"].endswith(f" free for {tmp_path}/no/cache")
    assert not (tmp_path / "no").exists()


def test_credentials_are_named_and_never_shown(tmp_path: Path) -> None:
    nothing = dict.fromkeys(
        ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PIP_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL"), ""
    )
    found = checks(tmp_path, nothing)
    assert {found[name]["status"] for name in ("AWS credentials", "package index settings")} == {
        "missing"
    }
    (tmp_path / ".aws").mkdir()
    # A region is no credential.
    (tmp_path / ".aws/config").write_text("[default]\nregion = eu-west-1\n")
    (tmp_path / ".aws/credentials").write_text(f"[default]\naws_secret_access_key = {SECRET}\n")
    (tmp_path / ".netrc").write_text(f"machine x login y password {SECRET}\n")
    keys = {"AWS_ACCESS_KEY_ID": SECRET, "PIP_INDEX_URL": f"https://me:{SECRET}@127.0.0.1/simple"}
    found = checks(tmp_path, {**nothing, **keys})
    aws = found["AWS credentials"]
    assert (aws["status"], aws["detail"]) == (
        "found",
        f"AWS_ACCESS_KEY_ID, {tmp_path}/.aws/credentials",
    )
    assert found["package index settings"]["detail"] == f"PIP_INDEX_URL, {tmp_path}/.netrc"


def test_the_table_says_what_is_missing_is_for(tmp_path: Path) -> None:
    extra = {"DOCKER_HOST": "unix:///none.sock"}
    ended = layerpack("doctor", folder=tmp_path, cache=tmp_path / "cache", extra=extra)
    assert ended.code == 0
    (line,) = [line for line in ended.output.splitlines() if "container engine" in line]
    assert line.split(maxsplit=3)[0] == "-"
    assert line.endswith("unix:///none.sock does not exist (for build --builder docker)")
