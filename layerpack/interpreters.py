"""Finding the target's Python: on PATH, under a pyenv root, or through `uv python find`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from layerpack import process
from layerpack.child_variables import tool_variables
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile

# A shim that finds itself on PATH starts itself for ever.
_PATIENCE: Final = 20.0

# The interpreter itself: what is on PATH may be a shim that asks the current folder which one to
# start, and a virtual environment's has its packages.
_PROBE = (
    "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name);"
    " print(getattr(sys, '_base_executable', '') or sys.executable)"
)


def find_interpreter(profile: RuntimeProfile) -> Path | None:
    """A CPython of the runtime's version that runs on this machine; None where there is none."""
    return _find(profile.python)


def require_interpreter(profile: RuntimeProfile, purpose: str) -> Path:
    """Like `find_interpreter`; raises BuildToolError with the ways out where there is none."""
    found = find_interpreter(profile)
    if found is None:
        python = profile.python
        raise BuildToolError(
            f"no Python {python} on this machine, needed {purpose}; looked on PATH "
            f"(python{python}), asked `uv python find {python}`, and under the pyenv root",
            f"Install it (`uv python install {python}`, or `pyenv install {python}`), or put "
            f"python{python} on PATH.",
        )
    return found


@cache
def interpreter_version(interpreter: Path) -> str:
    """The interpreter's full version and cache tag, such as `3.12.1 cpython-312`: a cache key."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.implementation.cache_tag)"
    return process.run([interpreter, "-I", "-c", code]).output.strip()


@cache
def _find(python: str) -> Path | None:
    return next((path for one in _candidates(python) if (path := _behind(one, python))), None)


def _candidates(python: str) -> Iterator[Path]:
    if python == f"{sys.version_info[0]}.{sys.version_info[1]}":
        # The base interpreter, not the virtual environment's: a build must not see our packages.
        yield Path(getattr(sys, "_base_executable", sys.executable))
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder or ".") / f"python{python}"
    for root in (os.environ.get("PYENV_ROOT"), "~/.pyenv"):
        if root:
            versions = Path(root).expanduser() / "versions"
            for version in sorted(versions.glob(f"{python}.*"), key=_patch, reverse=True):
                yield version / "bin" / f"python{python}"
    # Last, as uv takes longest to answer.
    arguments = [
        sys.executable,
        "-P",
        "-m",
        "uv",
        "python",
        "find",
        "--no-project",
        "--system",
        python,
    ]
    try:
        found = process.run(arguments, environment=tool_variables(), seconds=_PATIENCE)
    except BuildToolError:
        return
    if found.returncode == 0:
        yield Path(found.output.strip())


def _patch(folder: Path) -> int:
    """The patch version of a pyenv folder such as `3.12.10`; -1 for `3.12-dev` and the like."""
    patch = folder.name.rpartition(".")[2]
    return int(patch) if patch.isdigit() else -1


def _behind(path: Path, python: str) -> Path | None:
    """The CPython of that version that the file is or starts; None where it does not: a pyenv shim,
    say, exists and yet may not run."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    try:
        result = process.run([path, "-I", "-c", _PROBE], seconds=_PATIENCE)
    except BuildToolError:
        return None
    kind, _, found = result.output.strip().partition("\n")
    if result.returncode != 0 or kind.split() != [python, "cpython"]:
        return None
    # A virtual environment guesses the name of its base, before Python 3.11.
    return Path(found) if os.access(found, os.X_OK) else path
