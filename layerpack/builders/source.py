"""Building a wheel from a locked source distribution, with the target's interpreter."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from layerpack import process
from layerpack.builders.api import BuildContext, WheelFile
from layerpack.builders.fetch import (
    download_error,
    remember,
    store_wheel,
    supported_tags,
    wheel_name,
)
from layerpack.errors import BuildToolError, ResolveError
from layerpack.interpreters import require_interpreter
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.units import sha256_file, write_text

# 1980-01-01, the earliest date a zip can hold: wheels are then equal on every day
# (SOURCE_DATE_EPOCH is honoured by setuptools, wheel and flit; see reproducible-builds.org).
_EPOCH = "315532800"
#: pip 26 needs Python 3.10, and runs under the target's interpreter to build.
OLDEST_OF_PIP = (3, 10)
# As setuptools, distutils, meson and CMake say it.
_NO_COMPILER = re.compile(
    r"(command|execute) '[^']*(gcc|g\+\+|cc|c\+\+|clang)'[^\n]*No such file"
    r"|No such file or directory: '[^']*(gcc|g\+\+|cc|c\+\+|clang)'"
    r"|Unknown compiler\(s\)|No CMAKE_C(XX)?_COMPILER could be found"
)


def local_pip(pin: Locked, profile: RuntimeProfile) -> process.Tool:
    """pip under an interpreter of this machine that may build the pin.

    Raises BuildToolError where there is none.
    """
    if platform.machine() != profile.machine:
        raise BuildToolError(
            f"{pin.name}=={pin.version} has no wheel for {profile.architecture}, and cannot be "
            f"built from source for it on a {platform.machine()} machine",
            f"Choose a version with a wheel, or build on {profile.architecture}.",
        )
    require_pip(pin, profile)
    interpreter = require_interpreter(profile, f"to build {pin.name} from source")
    command = (sys.executable, "-m", "pip", "--python", str(interpreter))
    return process.Tool(command=command, run=process.run)


def require_pip(pin: Locked, profile: RuntimeProfile) -> None:
    """Raises BuildToolError where pip no longer runs under the runtime's Python."""
    if profile.python_version < OLDEST_OF_PIP:
        raise BuildToolError(
            f"{pin.name}=={pin.version} must be built from source, and pip no longer runs under "
            f"Python {profile.python}",
            "Choose a version with a wheel, or a newer runtime.",
        )


def build_wheel(pin: Locked, context: BuildContext, pip: process.Tool) -> WheelFile:
    """Download the pin's source distribution, check its hash, and build a wheel of it with `pip`.

    Raises BuildToolError when the build fails (the whole log's place is named), ResolveError when
    the download fails.
    """
    profile = context.profile
    context.on_step(f"building {pin.name} {pin.version} from source")
    with context.cache.scratch() as scratch:
        result = _run_pip(pin, pip, scratch, context)
        if result.returncode != 0:
            raise _failure(pin, result, context)
        file = next((scratch / "out").glob("*.whl"))
        name, version, tags = wheel_name(file)
        if not tags & set(supported_tags(profile)):
            raise BuildToolError(
                f"{file.name}, as built from source, is not for {profile.runtime} on "
                f"{profile.architecture}"
            )
        digest = sha256_file(file)
        path = store_wheel(context.cache, file, digest)
    wheel = WheelFile(
        name=name,
        version=version,
        path=path,
        sha256=digest,
        kind="source",
        origin_sha256=pin.hashes[0] if len(pin.hashes) == 1 else "",
    )
    remember(pin, wheel, context)
    return wheel


def _run_pip(
    pin: Locked, pip: process.Tool, scratch: Path, context: BuildContext
) -> process.Result:
    """Download, check and build for the target's interpreter; the wheel comes to `scratch`/out."""
    (scratch / "requirements.txt").write_text(pin.line + "\n", encoding="utf-8")
    constraints = "".join(f"{constraint}\n" for constraint in context.constraints)
    (scratch / "constraints.txt").write_text(constraints, encoding="utf-8")
    # This machine's flags are for this machine's compiler.
    flags = "" if context.toolchain else os.environ.get("CFLAGS", "")
    # The files' names are relative, as the folder has another path in a container.
    return pip.run(
        [
            *(*pip.command, "wheel", "--no-deps"),
            *("--require-hashes", "--no-binary", pin.name, "--no-cache-dir", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off", "--verbose"),
            *("--build-constraint", "constraints.txt", "--wheel-dir", "out"),
            *("--requirement", "requirements.txt", *context.index_options),
        ],
        folder=scratch,
        environment={
            "SOURCE_DATE_EPOCH": _EPOCH,
            "PYTHONHASHSEED": "0",
            # No debug information: it holds paths of this machine, and would be stripped.
            "CFLAGS": f"{flags} -g0".strip(),
            "NO_COLOR": "1",
        },
        on_line=context.on_output,
    )


def _failure(
    pin: Locked, result: process.Result, context: BuildContext
) -> BuildToolError | ResolveError:
    text = result.output + result.errors
    # Of the source itself; a build requirement that cannot be had is a failed build.
    if "DO NOT MATCH THE HASHES" in text or f"distribution found for {pin.name}==" in text:
        return download_error([pin], result, context.profile)
    log = context.cache.folder("logs") / f"{pin.name}-{pin.version}.log"
    write_text(log, text)
    return BuildToolError(
        f"building {pin.name}=={pin.version} from source failed; its last lines:\n"
        f"{last_lines(result)}\nthe whole log: {log}",
        "There is no C compiler: install one (in Docker: build.system-packages, or AWS's image)."
        if _NO_COMPILER.search(text)
        else "A build requirement that is too new can be held back with build.constraints.",
    )


def last_lines(result: process.Result) -> str:
    """What a build itself printed last, indented; after it come pip's own words, the same for every
    failure."""
    own = result.errors.split("error: subprocess-exited-with-error")[0]
    lines = [line.strip() for line in own.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-15:])
