"""Building a wheel from a locked source distribution, with the target's interpreter."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
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
from layerpack.child_variables import (
    FIXED,
    building_variables,
    compiler_variables,
    processor_variables,
)
from layerpack.errors import BuildToolError, ResolveError
from layerpack.indexes import pip_indexes, runner
from layerpack.interpreters import require_interpreter
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.source_lacks import lack_hint
from layerpack.units import key_of, sha256_file, write_text

#: pip 26 needs Python 3.10, and runs under the target's interpreter to build.
OLDEST_OF_PIP = (3, 10)


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
    command = (sys.executable, "-P", "-m", "pip", "--python", str(interpreter))
    return process.Tool(command=command, run=runner(pip_indexes, building_variables, hide=True))


def local_toolchain() -> str:
    """A key of what chooses this machine's compilers, their options and how OpenBLAS computes."""
    return key_of("local", FIXED, {**compiler_variables(), **processor_variables()})


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
        origin = _origin(scratch)
        digest = sha256_file(file)
        path = store_wheel(context.cache, file, digest)
    wheel = WheelFile(
        name=name,
        version=version,
        path=path,
        sha256=digest,
        kind="source",
        origin_sha256=origin,
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
    own = os.environ.get("CFLAGS", "") if context.toolchain == local_toolchain() else ""
    flags = context.environment.get("CFLAGS", own)
    # The files' names are relative, as the folder has another path in a container.
    return pip.run(
        [
            *(*pip.command, "wheel", "--no-deps"),
            *("--require-hashes", "--no-binary", pin.name, "--no-input"),
            # pip notes the source's hash there.
            *("--cache-dir", "cache"),
            *("--disable-pip-version-check", "--progress-bar", "off", "--verbose"),
            # The pip that it would start for build requirements gets the index as an argument.
            *("--use-feature", "inprocess-build-deps"),
            *("--build-constraint", "constraints.txt", "--wheel-dir", "out"),
            *("--requirement", "requirements.txt", *context.index_options),
        ],
        folder=scratch,
        environment={
            **FIXED,
            **context.environment,
            # No debug information: it holds paths of this machine, and would be stripped.
            "CFLAGS": f"{flags} -g0".strip(),
        },
        on_line=context.on_output,
    )


def _origin(scratch: Path) -> str:
    """The SHA-256 of the source that pip took, which it held against the lock; empty where pip does
    not tell, and the wheel is then built each time.

    https://pip.pypa.io/en/stable/topics/caching/ (origin.json, as PEP 610 has it)
    """
    for note in (scratch / "cache").glob("wheels/**/origin.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            info = json.loads(note.read_text(encoding="utf-8"))["archive_info"]
            return str(info["hashes"]["sha256"])
    return ""


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
        lack_hint(text)
        or "A build requirement that is too new can be held back with build.constraints.",
    )


def last_lines(result: process.Result) -> str:
    """What a build itself printed last, indented; after it come pip's own words, the same for every
    failure."""
    own = result.errors.split("error: subprocess-exited-with-error")[0]
    lines = [line.strip() for line in own.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-15:])
