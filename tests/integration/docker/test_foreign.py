"""A proof fails, by name, where a function needs what only the image has that it runs in."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerpack import data
from layerpack.cache import Cache
from tests.integration.docker.conftest import PROFILE
from tests.integration.emulator.test_verify import project
from tests.support.command import Ended, layerpack
from tests.support.engine import RUNTIME, Engine
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.engine

#: Of the stand-in's compiler; nothing of Python's uses it.
SONAME = "libmpc.so.3"
LOADS = f"import ctypes\n\nLIBRARY = ctypes.CDLL({SONAME!r})\n"
ANSWERS = "\n\ndef handler(event, context):\n    return 1\n"
NO_WORKLOADS = "function: {source: code, handler: app.handler}\n"
CALLS = """\
import subprocess


def handler(event, context):
    return subprocess.run({command!r}, check=True, shell={shell}).returncode
"""
TRIES = f"""\
import ctypes
import shutil


def handler(event, context):
    try:
        ctypes.CDLL({SONAME!r})
    except OSError:
        return ["without", shutil.which("gcc")]
"""
#: What Lambda has too: modules of Python's with their libraries, character sets and programs.
USES = """\
import bz2, ctypes.util, encodings.idna, json, lzma, os, platform, pwd, sqlite3, ssl, subprocess
import zoneinfo

for name in ("libm.so.6", "libz.so.1", "libstdc++.so.6"):
    ctypes.CDLL(name)

# Optional libraries, as packages open them.
for name in ("mpc", "z"):
    found = ctypes.util.find_library(name)
    LIBRARY = ctypes.CDLL(found) if found else None


def handler(event, context):
    assert ssl.create_default_context() and zoneinfo.ZoneInfo("Europe/Paris")
    sort = subprocess.Popen(["sort"], stdin=subprocess.PIPE)
    globals()["sort"] = sort
    piped = subprocess.run("echo apt | sed s/a/o/ | cat", shell=True, capture_output=True)
    release = platform.freedesktop_os_release()["ID"]
    user, others = pwd.getpwuid(os.getuid()).pw_name, os.listdir("/var/tmp")
    own = [release, user, os.readlink("/etc/ssl/certs"), os.path.exists("/etc/shadow"), others]
    return [piped.stdout.decode(), b"a".decode("euc-jp"), LIBRARY is not None, own]
"""

#: Of its user and /etc, of Amazon Linux's os-release, and of /var/tmp, what `USES` finds.
OWN = ["amzn", "sbx_user1051", "../pki/tls/certs", False, []]

#: Of no system: of the top, a user's, and one below /var.
FOLDERS_ELSEWHERE = ("srv", "data", "var/mine")

Prove = Callable[..., Ended]


@pytest.fixture
def prove(tmp_path: Path, client_cache: Cache, index: LocalIndex, stand_in: str) -> Prove:
    """Builds and proves a project in a container of an image, by default the stand-in."""

    def prove(image: str = stand_in, **parts: Any) -> Ended:
        project(tmp_path, index, runtime=RUNTIME, **parts)
        # The index is this machine's own: no container reaches it.
        lock = ("lock", "recipe.yaml", "--builder", "local")
        assert layerpack(*lock, folder=tmp_path, cache=client_cache.root).code == 0
        return layerpack(
            *("build", "recipe.yaml", "--builder", "docker", "--base-image", image, "--verify"),
            folder=tmp_path,
            cache=client_cache.root,
        )

    return prove


def record(folder: Path) -> Any:
    """What the build's manifest says of its proof."""
    return json.loads((folder / "build/small/manifest.json").read_text())["verified"]


def test_a_library_of_the_image_is_named_with_its_user(prove: Prove, stand_in: str) -> None:
    ended = prove(handler=LOADS + ANSWERS, more=NO_WORKLOADS)
    assert ended.code == 7, ended.errors
    assert f"has no library {SONAME}, nor do the layers" in ended.errors
    assert f"the image {stand_in}" in ended.errors and SONAME in ended.errors
    assert "line 3, in <module>" in ended.errors


@pytest.mark.parametrize("shell", [False, True])
def test_a_program_of_the_image_is_named_with_the_line_that_runs_it(
    prove: Prove, stand_in: str, shell: bool
) -> None:
    command = "gcc --version" if shell else ["gcc", "--version"]
    ended = prove(handler=CALLS.format(command=command, shell=shell))
    assert ended.code == 7, ended.errors
    assert "has no program gcc, nor do the layers" in ended.errors
    assert f"the image {stand_in} has /usr/bin/gcc" in ended.errors
    assert "line 5, in handler" in ended.errors


def test_a_module_that_opens_a_library_of_the_image_is_named(
    tmp_path: Path, prove: Prove, index: LocalIndex
) -> None:
    files: dict[str, str | bytes] = {"alpha/__init__.py": LOADS, "other.py": ""}
    index.add(make_wheel(tmp_path / "w", "alpha", version="2.0", files=files))
    ended = prove(more="")
    assert ended.code == 7, ended.errors
    assert "alpha does not import" in ended.errors
    assert f"has no library {SONAME}, nor do the layers" in ended.errors


def test_a_function_that_does_without_is_verified(tmp_path: Path, prove: Prove) -> None:
    ended = prove(handler=TRIES)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["workloads"][0]["equal"]


def test_what_lambda_has_as_well_is_found(tmp_path: Path, prove: Prove) -> None:
    ended = prove(handler=USES)
    assert ended.code == 0, ended.errors
    found = record(tmp_path)
    assert (found["state"], found["isolation"]) == ("verified", "docker")
    (answer,) = json.loads((tmp_path / "build/small/answers.json").read_text())["workloads"]
    assert json.loads(answer["answer"]) == ["opt\n", "a", True, OWN]


def test_all_of_lambdas_own_image_is_lambdas(
    tmp_path: Path, prove: Prove, engine: Engine, stand_in: str
) -> None:
    """Under its name in place of the real one, which the registry has."""
    name = data.load("docker.json")["run_image"].format(python=PROFILE.python)
    assert engine.client.images.get(stand_in).tag(name)
    try:
        ended = prove(name, handler=CALLS.format(command=["gcc", "--version"], shell=False))
    finally:
        engine.client.images.remove(name, noprune=True)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["workloads"][0]["equal"]


@pytest.fixture
def elsewhere(tmp_path: Path, engine: Engine, stand_in: str) -> Iterator[str]:
    """The stand-in with a library, a script and data in folders that are no system's."""
    files = [make_library(tmp_path / "libmine.so", source="int value(void) { return 41; }")]
    for name, text in (("script", "#!/bin/sh\necho mine\n"), ("model.txt", "mine\n")):
        files.append(tmp_path / name)
        files[-1].write_text(text)
        files[-1].chmod(0o755)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        # A volume covers a folder, and no file at the top.
        archive.add(files[0], arcname=files[0].name)
        for folder in FOLDERS_ELSEWHERE:
            for file in files:
                archive.add(file, arcname=f"{folder}/{file.name}")
    container = engine.client.containers.create(stand_in, ["true"])
    try:
        container.put_archive("/", stream.getvalue())
        image = container.commit("layerpack-tests/elsewhere", "1")
    finally:
        container.remove()
    yield "layerpack-tests/elsewhere:1"
    engine.client.images.remove(image.id, force=True)


def test_what_an_image_has_elsewhere_is_absent(
    tmp_path: Path, prove: Prove, elsewhere: str
) -> None:
    places = [f"/{folder}" for folder in FOLDERS_ELSEWHERE]
    handler = f"import os\n\nFOUND = [os.listdir(p) for p in {places} if os.path.exists(p)]\n"
    handler += "\n\ndef handler(event, context):\n    return FOUND\n"
    ended = prove(elsewhere, handler=handler)
    assert ended.code == 0, ended.errors
    (answer,) = json.loads((tmp_path / "build/small/answers.json").read_text())["workloads"]
    assert json.loads(answer["answer"]) == [[], []]


def test_a_script_of_an_image_is_named_with_the_line_that_runs_it(
    prove: Prove, elsewhere: str
) -> None:
    ended = prove(elsewhere, handler=CALLS.format(command=["/srv/script"], shell=False))
    assert ended.code == 7, ended.errors
    assert "No such file or directory: '/srv/script'" in ended.errors
    assert "line 5, in handler" in ended.errors


def test_a_library_at_the_top_of_an_image_is_named_once_it_is_mapped(
    prove: Prove, elsewhere: str
) -> None:
    handler = "import ctypes\n\nLIBRARY = ctypes.CDLL('/libmine.so')\n" + ANSWERS
    ended = prove(elsewhere, handler=handler, more=NO_WORKLOADS)
    assert ended.code == 7, ended.errors
    assert f"the function runs code of the image {elsewhere}" in ended.errors
    assert "has no library libmine.so, nor do the layers" in ended.errors
