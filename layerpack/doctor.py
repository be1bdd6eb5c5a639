"""What this machine has for builds: `layerpack doctor`.

Of credentials only the places are named where the usual tools would look, never what is there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerpack import process
from layerpack.child_variables import tool_variables
from layerpack.docker_engine import connect
from layerpack.errors import BuildToolError
from layerpack.interpreters import find_interpreter, interpreter_version
from layerpack.limits import RuntimeProfile, runtimes
from layerpack.units import human_size

Status = Literal["found", "missing", "low"]

# A stack like BERT's takes about 2 GB of cache, its images about as much again.
_ROOM = 5_000_000_000
# Where AWS's SDKs look, in their order (AWS SDKs and Tools Reference Guide, "Standardized
# credential providers").
_AWS_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)
_AWS_FILES = {
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
    "AWS_CONFIG_FILE": "~/.aws/config",
}
_CREDENTIALS = re.compile(
    r"^\s*(aws_access_key_id|aws_secret_access_key|credential_process|role_arn|source_profile|sso_\w+|login_session"
    r"|web_identity_token_file)\s*=",
    re.MULTILINE,
)
_INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
_COMPILERS = {"C compiler": ("CC", "cc"), "C++ compiler": ("CXX", "c++")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that a build may need: whether it is there, what was found, what it is for."""

    name: str
    status: Status
    detail: str
    purpose: str


def examine(cache: Path) -> tuple[Check, ...]:
    """Look at everything; `cache` is the folder whose disk is asked for room."""
    return (
        _engine(),
        *_interpreters(),
        *_compilers(),
        _uv(),
        _disk(cache),
        *_credentials(os.environ),
    )


def _engine() -> Check:
    try:
        engine = connect()
    except BuildToolError as error:
        status: Status = "missing"
        detail = error.message
    else:
        engine.close()
        status = "found"
        detail = f"{engine.version} (API {engine.api_version}) at {engine.address}"
    return Check(
        name="container engine", status=status, detail=detail, purpose="build --builder docker"
    )


def _interpreters() -> Iterator[Check]:
    for runtime in reversed(runtimes()):
        profile = RuntimeProfile.load(runtime, "x86_64")
        found = find_interpreter(profile)
        yield Check(
            name=f"Python {profile.python}",
            status="found" if found else "missing",
            detail=f"{interpreter_version(found).split()[0]} at {found}" if found else "",
            purpose=f"sources, prepared assets and bytecode for {runtime}",
        )


def _compilers() -> Iterator[Check]:
    for name, (variable, usual) in _COMPILERS.items():
        command = next(iter(os.environ.get(variable, "").split()), usual)
        found = shutil.which(command)
        yield Check(
            name=name,
            status="found" if found else "missing",
            detail=_first_line([found, "--version"]) if found else f"no {command} on PATH",
            purpose="build.from-source without Docker",
        )


def _uv() -> Check:
    told = _first_line([sys.executable, "-P", "-m", "uv", "--version"])
    found = told.startswith("uv ")
    return Check(
        name="uv",
        status="found" if found else "missing",
        detail=told,
        purpose="resolving",
    )


def _first_line(command: list[str]) -> str:
    try:
        result = process.run(command, environment=tool_variables())
    except BuildToolError as error:
        return error.message
    return next(iter((result.output or result.errors).splitlines()), "")


def _disk(cache: Path) -> Check:
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    return Check(
        name="disk",
        status="found" if free >= _ROOM else "low",
        detail=f"{human_size(free)} free for {cache}",
        purpose=f"the cache; {human_size(_ROOM)} are enough",
    )


def _credentials(environment: Mapping[str, str]) -> Iterator[Check]:
    places = [name for name in _AWS_VARIABLES if environment.get(name)]
    for variable, usual in _AWS_FILES.items():
        file = Path(environment.get(variable, usual)).expanduser()
        # A configuration may name a region alone.
        if file.is_file() and _CREDENTIALS.search(file.read_text("utf-8", "replace")):
            places.append(str(file))
    yield _found_in("AWS credentials", places, "publishing")
    places = [name for name in _INDEX_VARIABLES if environment.get(name)]
    netrc = Path(environment.get("NETRC", "~/.netrc")).expanduser()
    if netrc.is_file():
        places.append(str(netrc))
    yield _found_in("package index settings", places, "private package indexes")


def _found_in(name: str, places: list[str], purpose: str) -> Check:
    return Check(
        name=name,
        status="found" if places else "missing",
        detail=", ".join(places),
        purpose=purpose,
    )
