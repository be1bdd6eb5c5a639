"""What a function finds of this machine's libraries and programs: those that Lambda has too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.emulator.environment import Environment
from layerpack.emulator.host_system import this_system
from layerpack.emulator.sandbox import Isolation, Program
from layerpack.errors import VerificationError
from layerpack.interpreters import require_interpreter
from layerpack.origins import need_own
from tests.integration.emulator.conftest import ISOLATIONS, Log, started
from tests.integration.emulator.test_invoke import run
from tests.support.host import foreign_library
from tests.support.libraries import make_library
from tests.support.recipes import HERE, load

CALL = """\
import subprocess
try:
    ended = subprocess.run({command!r}, capture_output=True, text=True, shell={shell})
    answer = [ended.returncode, ended.stdout]
except OSError as error:
    answer = str(error)
"""
LOAD = """\
import ctypes
try:
    answer = ctypes.CDLL({name!r}).value()
except OSError as error:
    answer = str(error)
"""


def call(command: str | list[str], *, shell: bool = False) -> str:
    """Code that runs a program of the function's."""
    return CALL.format(command=command, shell=shell)


@pytest.fixture(params=["namespaces"])
def environment(program: Program, request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The function, with a program and a library of its own in its layers."""
    make_library(program.opt / "lib/libown.so", source="int value(void) { return 41; }")
    (program.opt / "bin").mkdir()
    subprocess.run(
        ["gcc", "-o", str(program.opt / "bin/own"), "-x", "c", "-"],
        input='#include <stdio.h>\nint main(void) { puts("own"); return 0; }',
        text=True,
        check=True,
    )
    isolation: Isolation = request.param
    environment = started(program, Log(), isolation)
    yield environment
    environment.close()


@pytest.mark.parametrize("environment", ISOLATIONS, indirect=True)
def test_a_library_of_this_machine_is_absent_unless_lambda_has_it(
    environment: Environment,
) -> None:
    soname, path = foreign_library()
    for name in (soname, str(path)):
        assert f"{name}: cannot open shared object file" in run(environment, LOAD.format(name=name))
    for name in ("libm.so.6", "libz.so.1"):
        assert run(environment, f"import ctypes; answer = bool(ctypes.CDLL({name!r}))")


@pytest.mark.parametrize("environment", ISOLATIONS, indirect=True)
def test_the_loaders_cache_lists_only_what_lambda_has(environment: Environment) -> None:
    foreign = foreign_library()[0].removeprefix("lib").partition(".so")[0]
    # A module of Python's may need libsqlite3, which Lambda may have inside that module.
    names = [foreign, "sqlite3", "c", "m", "z"]
    code = f"from ctypes.util import find_library; answer = [find_library(n) for n in {names}]"
    assert run(environment, code) == [None, None, "libc.so.6", "libm.so.6", "libz.so.1"]


@pytest.mark.parametrize("environment", ISOLATIONS, indirect=True)
def test_a_program_of_this_machine_is_absent_unless_lambda_has_it(
    environment: Environment,
) -> None:
    assert run(environment, call(["gcc", "--version"])) == (
        "[Errno 2] No such file or directory: 'gcc'"
    )
    # A shell, or a program, finds it as little as Python does.
    assert run(environment, call("gcc --version", shell=True)) == [127, ""]
    assert run(environment, call("echo apt | sed s/a/o/ | cat", shell=True)) == [0, "opt\n"]
    assert run(environment, call(["env", "bash", "-c", "ls /opt | sort | head -n 1"])) == [
        0,
        "bin\n",
    ]


def test_what_the_layers_bring_runs(environment: Environment) -> None:
    assert run(environment, call(["own"])) == [0, "own\n"]
    assert run(environment, LOAD.format(name="libown.so")) == 41


def test_a_library_that_the_function_writes_is_loaded(environment: Environment) -> None:
    copy = "import shutil; shutil.copy('/opt/lib/libown.so', '/tmp/libcopy.so')\n"
    assert run(environment, copy + LOAD.format(name="/tmp/libcopy.so")) == 41


def test_every_extension_module_of_the_standard_library_imports(
    environment: Environment,
) -> None:
    code = """\
import importlib, pathlib, sysconfig
folder = pathlib.Path(importlib.util.find_spec('_ctypes').origin).parent
answer = {}
for path in sorted(folder.glob('*.so')):
    name = path.name.partition('.')[0]
    try:
        importlib.import_module(name)
    except ImportError as error:
        answer[name] = str(error)
"""
    failing = run(environment, "import importlib.util\n" + code)
    # What this machine's Python lacks is its own affair.
    lacking = [
        name
        for name in failing
        if subprocess.run([sys.executable, "-c", f"import {name}"], check=False).returncode == 0
    ]
    assert lacking in ([], ["_tkinter"])


def test_the_python_is_found_under_the_names_that_lambda_has(environment: Environment) -> None:
    code = "import sys; print(sys.prefix, 'site-packages' in ''.join(sys.path))"
    for name in ("python3", f"python3.{sys.version_info[1]}"):
        assert run(environment, call([name, "-S", "-c", code])) == [0, "/var/lang False\n"]


def test_certificates_and_names_are_found(environment: Environment) -> None:
    code = "import socket, ssl, pathlib\nanswer = [socket.gethostbyname('localhost'), "
    code += "ssl.create_default_context().cert_store_stats()['x509_ca'] > 0]"
    has = Path("/etc/ssl/certs/ca-certificates.crt").exists()
    assert run(environment, code) == ["127.0.0.1", has]


@pytest.mark.parametrize("environment", ISOLATIONS, indirect=True)
def test_only_what_a_mapped_module_needs_counts_as_lambdas(
    environment: Environment, tmp_path: Path
) -> None:
    recipe = load(tmp_path / "recipe", runtime=HERE)
    system = this_system(require_interpreter(recipe.profile, "for the test"), HERE)
    code = (
        "import ctypes, ssl, bz2, encodings.idna, subprocess, sys\n"
        "ctypes.CDLL('/opt/lib/libown.so')\n"
        "b'a'.decode('euc-jp')\n"
        "sys.child = subprocess.Popen(['sort'], stdin=subprocess.PIPE)\n"
        "answer = 1"
    )
    run(environment, code)
    assert {"/opt/lib/libown.so", "/var/lang/bin/" + HERE} <= environment.mapped
    need_own(dict.fromkeys(environment.mapped, "it"), recipe, system, isolated=True)
    run(environment, "import ctypes; ctypes.CDLL('libsqlite3.so.0'); answer = 1")
    with pytest.raises(VerificationError, match=r"libsqlite3\.so\.0"):
        need_own(dict.fromkeys(environment.mapped, "it"), recipe, system, isolated=True)
