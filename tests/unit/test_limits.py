"""Lambda's limits and runtimes, as the data files have them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Literal

import pytest

from layerpack import data
from layerpack.cli.invoke import invoke
from layerpack.cli.serve import serve
from layerpack.limits import (
    MEMORY_MB,
    LambdaLimits,
    RuntimeProfile,
    runtimes,
    this_machine,
    version_tuple,
)


def test_the_limits_are_those_of_lambda() -> None:
    assert LambdaLimits.load() == LambdaLimits(
        unzipped_bytes=262_144_000,
        layers=5,
        direct_upload_zip_bytes=52_428_800,
        function_budget_bytes=5_242_880,
        event_bytes=6_291_456,
        environment_bytes=4096,
        asynchronous_event_bytes=1_048_576,
    )


@pytest.mark.parametrize("name", ["limits.json", "runtimes.json", "system_libraries.json"])
def test_each_data_file_has_a_date_and_a_source(name: str) -> None:
    facts = json.loads(data.text(name))
    assert date.fromisoformat(facts["date"]) > date(2025, 1, 1)
    assert facts.get("source") or facts.get("sources")


@pytest.mark.parametrize(
    ("runtime", "glibc", "libstdcxx", "version"),
    [
        ("python3.9", (2, 26), (3, 4, 24), (3, 9)),
        ("python3.10", (2, 26), (3, 4, 24), (3, 10)),
        ("python3.11", (2, 26), (3, 4, 24), (3, 11)),
        ("python3.12", (2, 34), (3, 4, 29), (3, 12)),
        ("python3.13", (2, 34), (3, 4, 29), (3, 13)),
        ("python3.14", (2, 34), (3, 4, 29), (3, 14)),
    ],
)
def test_each_runtime_has_its_systems_libraries(
    runtime: str, glibc: tuple[int, int], libstdcxx: tuple[int, ...], version: tuple[int, int]
) -> None:
    profile = RuntimeProfile.load(runtime, "x86_64")
    assert profile.glibc == glibc
    assert profile.versions["GLIBCXX"] == libstdcxx
    assert profile.python_version == version
    assert f"python{profile.python}" == runtime


def test_all_runtimes_are_known_oldest_first() -> None:
    assert runtimes() == tuple(f"python3.{minor}" for minor in range(9, 15))


def test_what_the_runtime_lacks_is_not_listed_as_provided() -> None:
    provided = RuntimeProfile.load("python3.12", "x86_64").libraries
    assert {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"} <= provided
    assert not {"libgomp.so.1", "libquadmath.so.0", "ld-linux-aarch64.so.1"} & provided


def test_an_unknown_runtime_is_an_error() -> None:
    with pytest.raises(KeyError):
        RuntimeProfile.load("python2.7", "x86_64")


@pytest.mark.parametrize(
    ("runtime", "architecture", "first", "last", "among"),
    [
        (
            "python3.12",
            "x86_64",
            "manylinux_2_34_x86_64",
            "linux_x86_64",
            {"manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux1_x86_64"},
        ),
        (
            "python3.11",
            "x86_64",
            "manylinux_2_26_x86_64",
            "linux_x86_64",
            {"manylinux_2_24_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64"},
        ),
        (
            "python3.12",
            "arm64",
            "manylinux_2_34_aarch64",
            "linux_aarch64",
            {"manylinux2014_aarch64", "manylinux_2_28_aarch64"},
        ),
    ],
)
def test_wheel_platforms_go_from_the_runtimes_glibc_downwards(
    runtime: str,
    architecture: Literal["x86_64", "arm64"],
    first: str,
    last: str,
    among: set[str],
) -> None:
    platforms = RuntimeProfile.load(runtime, architecture).wheel_platforms
    assert (platforms[0], platforms[-1]) == (first, last)
    assert among <= set(platforms)
    assert len(set(platforms)) == len(platforms)


def test_there_is_no_old_alias_for_arm() -> None:
    platforms = RuntimeProfile.load("python3.12", "arm64").wheel_platforms
    assert not {name for name in platforms if name.startswith(("manylinux1_", "manylinux2010"))}
    assert "manylinux_2_5_aarch64" not in platforms


def test_versions_compare_as_numbers() -> None:
    assert version_tuple("3.4.9") < version_tuple("3.4.29")


def test_packaging_knows_each_platform_as_pip_does() -> None:
    # pip tells which tags it takes for the platforms; each of them must be one of ours.
    profile = RuntimeProfile.load("python3.12", "x86_64")
    platforms = [f"--platform={name}" for name in profile.wheel_platforms]
    told = subprocess.run(
        [sys.executable, "-m", "pip", "debug", "--verbose", "--python-version=3.12", *platforms],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tags = {line.strip() for line in told.splitlines() if line.startswith("  cp312-cp312-")}
    assert tags == {f"cp312-cp312-{name}" for name in profile.wheel_platforms}


@pytest.mark.parametrize(
    ("machine", "system", "name"),
    [
        ("x86_64", "linux", "x86_64"),
        ("AMD64", "linux", "x86_64"),
        ("arm64", "linux", "aarch64"),
        # No program of a runtime's starts there, whatever the processor.
        ("arm64", "darwin", "aarch64 (Darwin)"),
    ],
)
def test_a_machine_has_one_name(
    monkeypatch: pytest.MonkeyPatch, machine: str, system: str, name: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.system", system.capitalize)
    monkeypatch.setattr("sys.platform", system)
    assert this_machine() == name


@pytest.mark.parametrize("command", [invoke, serve])
def test_functions_get_the_same_memory_everywhere(command: Callable[..., None]) -> None:
    assert inspect.signature(command).parameters["memory"].default == MEMORY_MB
