"""Finding the target's Python: what runs and answers counts, wherever it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerpack import interpreters
from layerpack.errors import BuildToolError
from layerpack.interpreters import find_interpreter, interpreter_version, require_interpreter
from layerpack.limits import RuntimeProfile
from tests.support.recipes import HERE


def test_the_running_version_is_found_outside_the_virtual_environment() -> None:
    found = find_interpreter(RuntimeProfile.load(HERE, "x86_64"))
    assert found is not None
    code = "import sys; print(sys.prefix == sys.base_prefix, '%d.%d' % sys.version_info[:2])"
    told = subprocess.run([found, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == f"True {HERE.removeprefix('python')}\n"


def test_the_version_is_a_key_with_the_cache_tag() -> None:
    version = "{}.{}.{}".format(*sys.version_info[:3])
    assert interpreter_version(Path(sys.executable)) == (
        f"{version} {sys.implementation.cache_tag}"
    )


# A process of its own, as what was found is kept while a process lives; `-I -S` and a PATH of the
# test's own, so that nothing of this machine is found.
_FIND = """\
import sys
sys.path[:0] = sys.argv[1].split(":")
from layerpack.interpreters import find_interpreter
from layerpack.limits import RuntimeProfile
print(find_interpreter(RuntimeProfile.load(sys.argv[2], "x86_64")))
"""


def find(runtime: str, path: Path, pyenv: Path) -> str:
    """What is found with PATH, a pyenv root, and without uv."""
    places = ":".join(entry for entry in sys.path if entry)
    environment = {
        "PATH": str(path),
        "PYENV_ROOT": str(pyenv),
        "HOME": str(path),
        "UV_PYTHON_SEARCH_PATH": "",
        "UV_PYTHON_PREFERENCE": "only-managed",
        "UV_PYTHON_INSTALL_DIR": str(path / "none"),
        "UV_PYTHON_DOWNLOADS": "never",
    }
    result = subprocess.run(
        [sys.executable, "-c", _FIND, places, runtime],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return result.stdout.strip()


def pretend(path: Path, version: str, implementation: str = "cpython", code: int = 0) -> Path:
    """A program that answers the question after its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {version} {implementation}\necho "$0"\nexit {code}\n')
    path.chmod(0o755)
    return path


def other_runtime() -> str:
    """A runtime that the tests do not run under."""
    return "python3.9" if HERE != "python3.9" else "python3.10"


def test_one_on_path_is_found(tmp_path: Path) -> None:
    runtime = other_runtime()
    python = pretend(tmp_path / "bin" / runtime, runtime.removeprefix("python"))
    assert find(runtime, tmp_path / "bin", tmp_path / "pyenv") == str(python)


def test_the_newest_under_a_pyenv_root_is_found(tmp_path: Path) -> None:
    runtime = other_runtime()
    version = runtime.removeprefix("python")
    for patch in (1, 3, 2):
        pretend(tmp_path / f"pyenv/versions/{version}.{patch}/bin/{runtime}", version)
    found = find(runtime, tmp_path / "bin", tmp_path / "pyenv")
    assert found == str(tmp_path / f"pyenv/versions/{version}.3/bin/{runtime}")


@pytest.mark.parametrize(
    ("version", "implementation", "code"),
    [("3.7", "cpython", 0), (None, "pypy", 0), (None, "cpython", 127)],
    ids=["another version", "another implementation", "a shim that does not run"],
)
def test_what_does_not_answer_as_it_should_is_passed_over(
    tmp_path: Path, version: str | None, implementation: str, code: int
) -> None:
    runtime = other_runtime()
    right = runtime.removeprefix("python")
    pretend(tmp_path / "bin" / runtime, version or right, implementation, code)
    assert find(runtime, tmp_path / "bin", tmp_path / "pyenv") == "None"
    good = pretend(tmp_path / f"pyenv/versions/{right}.1/bin/{runtime}", right)
    assert find(runtime, tmp_path / "bin", tmp_path / "pyenv") == str(good)


def test_the_interpreter_behind_a_shim_is_found(tmp_path: Path) -> None:
    """A shim may need its own environment, which a function has not."""
    version = HERE.removeprefix("python")
    base = Path(getattr(sys, "_base_executable", sys.executable))
    shim = tmp_path / HERE
    shim.write_text(f'#!/bin/sh\nexec "{base}" "$@"\n')
    shim.chmod(0o755)
    environment = Path(sys.executable)
    for one in (shim, environment):
        found = interpreters._behind(one, version)
        assert found is not None and found.samefile(base)


def test_a_shim_that_starts_itself_for_ever_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = other_runtime()
    shim = tmp_path / "bin" / runtime
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\nexec "$0" "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setattr("layerpack.interpreters._PATIENCE", 1)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    # Past the memory of this process, which other tests use.
    assert interpreters._find.__wrapped__(runtime.removeprefix("python")) is None


def test_a_missing_one_is_told_with_the_ways_out() -> None:
    # No runtime of the product, and so on no machine.
    profile = RuntimeProfile.load("python3.14", "x86_64")
    fields = {name: getattr(profile, name) for name in RuntimeProfile.__slots__}
    future = RuntimeProfile(**{**fields, "runtime": "python3.99"})
    with pytest.raises(BuildToolError) as caught:
        require_interpreter(future, "to build mxnet from source")
    assert str(caught.value) == (
        "no Python 3.99 on this machine, needed to build mxnet from source; looked on PATH "
        "(python3.99), asked `uv python find 3.99`, and under the pyenv root\n"
        "Install it (`uv python install 3.99`, or `pyenv install 3.99`), or put python3.99 on PATH."
    )
