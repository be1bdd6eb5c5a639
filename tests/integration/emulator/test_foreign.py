"""A proof fails, by name, where a function needs what only this machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulator.sandbox import ISOLATIONS
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.pipeline import BuildOptions
from layerpack.pipeline import build as build_here
from layerpack.verification import unjudged, unproven
from tests.integration.emulator.test_proof import verify
from tests.integration.emulator.test_verify import FUNCTION, HANDLER, build, project, record
from tests.support.host import foreign_library
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

SONAME, PATH = foreign_library()
NO_WORKLOADS = "function: {source: code, handler: app.handler}\n"
CALLS = """\
import subprocess


def handler(event, context):
    return subprocess.run(["gcc", "--version"], check=True).returncode
"""
#: As python-magic does: a name that this machine's loader finds.
LOADS = f"import ctypes\n\nLIBRARY = ctypes.CDLL({SONAME!r})\n"
TRIES = f"""\
import ctypes
import shutil


def handler(event, context):
    try:
        ctypes.CDLL({SONAME!r})
    except OSError:
        return ["without", shutil.which("gcc")]
"""


def test_a_program_of_this_machine_is_named_with_the_line_that_runs_it(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index, handler=CALLS)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "has no program gcc, nor do the layers" in ended.errors
    assert "line 5, in handler" in ended.errors and "assets" in ended.errors


@pytest.mark.exhaustive
@pytest.mark.parametrize("more", [FUNCTION, NO_WORKLOADS], ids=["workload", "import"])
def test_a_program_that_a_shell_does_not_find_is_a_warning(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, more: str
) -> None:
    run = "os.system('gcc --version | cat; nowhere-at-all x; ls /')"
    if more == FUNCTION:
        handler = f"import os\n\ndef handler(event, context):\n    {run}\n    return 1\n"
    else:
        handler = f"import os\n{run}\n{HANDLER}"
    project(tmp_path, index, handler=handler, more=more)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    told = [line for line in ended.errors.splitlines() if line.startswith("warning: ")]
    assert ["gcc" in told[0], "nowhere-at-all" in told[1]] == [True, True]
    assert len(told) == 2
    assert "does not find gcc" in told[0] and "/assets" in told[0]


@pytest.mark.exhaustive
def test_a_library_that_code_opens_by_its_name_may_be_named_in_the_recipe(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    """Nothing needs it in the way that a loader sees."""
    handler = "import ctypes\nLIBRARY = ctypes.CDLL('libmine.so.1')\n" + HANDLER
    more = NO_WORKLOADS + "system-libraries: {libmine.so.1: libmine.so.1}\n"
    project(tmp_path, index, handler=handler, more=more)
    make_library(tmp_path / "libmine.so.1", soname="libmine.so.1")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["state"] == "verified"


@pytest.mark.exhaustive
def test_where_nothing_imports_nothing_is_verified(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    files: dict[str, str | bytes] = {"alpha/__init__.py": "import absent\n"}
    minimal(tmp_path, runtime=HERE, index=index.url)
    index.add(make_wheel(tmp_path / "wheels", "alpha", files=files))
    ended = build(tmp_path, emulator_cache)
    assert (ended.code, record(tmp_path)["state"]) == (0, "not verified")
    assert build(tmp_path, emulator_cache, "--require-verified").code == 7


@pytest.mark.exhaustive
def test_a_relative_cache_takes_no_isolation_away(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index, more=NO_WORKLOADS)
    cache = Cache(Path(os.path.relpath(emulator_cache.root, tmp_path)))
    ended = build(tmp_path, cache)
    assert (ended.code, record(tmp_path)["isolation"]) == (0, "namespaces"), ended.errors


@pytest.mark.exhaustive
def test_a_function_that_does_without_is_verified(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index, handler=TRIES)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["workloads"][0]["equal"]


def test_a_module_that_opens_a_library_of_this_machine_is_named_unless_that_is_optional(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    files: dict[str, str | bytes] = {"alpha/__init__.py": LOADS, "other.py": ""}
    index.add(make_wheel(tmp_path / "w", "alpha", files=files))
    minimal(tmp_path, index=index.url, runtime=HERE)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "alpha does not import" in ended.errors
    assert f"has no library {SONAME}, nor do the layers" in ended.errors
    assert f"{{optional: [{SONAME}]}}" in ended.errors
    more = f"system-libraries: {{optional: [{SONAME}]}}"
    minimal(tmp_path, index=index.url, runtime=HERE, more=more)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert list(record(tmp_path)["not_importable"]) == ["alpha"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("by_module", [False, True])
def test_without_isolation_a_library_of_this_machine_is_found_by_its_mapping(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, by_module: bool
) -> None:
    # So is what a child has mapped that still runs.
    handler = f"""\
import subprocess, sys


def handler(event, context):
    code = "import ctypes; ctypes.CDLL({SONAME!r}); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1)
    return [len(child.stdout.readline()), id(globals().setdefault("child", child)) > 0]
"""
    alpha = {"alpha/__init__.py": LOADS if by_module else "def value():\n    return 1\n"}
    index.add(make_wheel(tmp_path / "w", "alpha", files=alpha))
    (tmp_path / "code").mkdir()
    (tmp_path / "code/app.py").write_text(HANDLER if by_module else handler)
    (tmp_path / "ask.json").write_text("{}")
    minimal(tmp_path, index=index.url, runtime=HERE, more=FUNCTION)
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    ended = verify(tmp_path, emulator_cache, "--isolation", "process")
    assert ended.code == 7
    user = "alpha" if by_module else "the function"
    assert f"{user} runs code of this machine" in ended.errors
    assert f"has no library {SONAME}, nor do the layers" in ended.errors


@pytest.mark.exhaustive
def test_without_isolation_what_the_layers_bring_is_their_own(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index)
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    ended = verify(tmp_path, emulator_cache, "--isolation", "process")
    assert ended.code == 0, ended.errors


def test_a_function_that_opens_a_library_of_this_machine_is_not_verified(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = LOADS + "\n\ndef handler(event, context):\n    return 1\n"
    project(tmp_path, index, handler=handler, more=NO_WORKLOADS)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert f"has no library {SONAME}, nor do the layers" in ended.errors


@pytest.mark.parametrize("imported", [False, True])
def test_a_library_of_a_module_of_python_counts_with_that_module_only(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, imported: bool
) -> None:
    # Lambda's _sqlite3 may hold it: nothing else finds it there.
    handler = f"""\
import ctypes, mmap
{"import sqlite3" if imported else ""}

LIBRARY = ctypes.CDLL("libsqlite3.so.0")
ANONYMOUS = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def handler(event, context):
    return 1
"""
    project(tmp_path, index, handler=handler, more=NO_WORKLOADS)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == (0 if imported else 7), ended.errors
    assert imported or "has no library libsqlite3.so.0, nor do the layers" in ended.errors


@pytest.mark.exhaustive
@pytest.mark.parametrize("imported", [False, True])
def test_the_proof_judges_what_only_an_extension_module_lacks(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, imported: bool
) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    pool = make_library(tmp_path / "pool.abi3.so", needs=[gone])
    files: dict[str, str | bytes] = {
        "alpha/__init__.py": "from alpha import pool\n" if imported else "",
        "alpha/pool.abi3.so": pool.read_bytes(),
    }
    index.add(make_wheel(tmp_path / "w", "alpha", files=files))
    minimal(tmp_path, index=index.url, runtime=HERE)
    ended = build(tmp_path, emulator_cache)
    assert "libgone.so.1 is missing, which only extension modules need" in ended.errors
    assert ended.code == (7 if imported else 0), ended.errors
    # Without the proof nothing tells, and it is an error.
    ended = build(tmp_path, emulator_cache, "--no-verify", "-o", "build/unproven")
    assert ended.code == 7
    assert "libgone.so.1, needed by python/alpha/pool.abi3.so" in ended.errors


@pytest.mark.parametrize("isolated", [False, True])
def test_a_proof_without_isolation_does_not_judge_it(
    tmp_path: Path,
    emulator_cache: Cache,
    index: LocalIndex,
    monkeypatch: pytest.MonkeyPatch,
    isolated: bool,
) -> None:
    """This machine may have what Lambda lacks."""
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    pool = make_library(tmp_path / "pool.abi3.so", needs=[gone])
    files: dict[str, str | bytes] = {
        "alpha/__init__.py": "",
        "alpha/pool.abi3.so": pool.read_bytes(),
    }
    index.add(make_wheel(tmp_path / "w", "alpha", files=files))
    recipe = minimal(tmp_path, index=index.url, runtime=HERE)
    monkeypatch.setattr("layerpack.isolation.ISOLATIONS", ISOLATIONS if isolated else ())
    options = BuildOptions(cache=emulator_cache, output=tmp_path / "build", verify=True)
    if isolated:
        assert build_here(recipe, options, Events()).manifest.verified["state"] == "verified"
        return
    with pytest.raises(VerificationError, match=r"libgone\.so\.1, needed by python/alpha/pool"):
        build_here(recipe, options, Events())
    assert not (tmp_path / "build").exists()


def test_a_level_that_this_processor_lacks_leaves_no_doubt_about_libraries() -> None:
    record = {
        "state": "verified",
        "isolation": "namespaces",
        "levels": [{"level": "avx512", "state": "not verified", "reason": "it lacks it"}],
    }
    assert unproven(record) and not unjudged(record)
    for change in ({"isolation": "process"}, {"unjudged": "foreign"}, {"state": "not verified"}):
        assert unjudged({**record, **change})
