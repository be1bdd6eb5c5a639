"""A build, run as Lambda would run it: its zips, AWS's client, this machine's Python together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from layerpack import data
from layerpack.builders.api import BuildContext
from layerpack.builders.local import LocalBuilder
from layerpack.builders.unpack import payload_of
from layerpack.cache import Cache
from layerpack.emulator.environment import Environment
from layerpack.emulator.http_api import LARGEST_EVENT, HttpFront
from layerpack.emulator.http_event import json_problem
from layerpack.emulator.pool import Pool
from layerpack.emulator.processor import MB_A_PROCESSOR
from layerpack.emulator.sandbox import Program, Settings
from layerpack.emulator.trees import unzip_build
from layerpack.errors import UsageError
from layerpack.events import Events
from layerpack.isolation import Isolator, Wanted
from layerpack.lambda_variables import variable_problem
from layerpack.limits import RuntimeProfile
from layerpack.lock import parse_requirements
from layerpack.manifest import Manifest
from layerpack.payload import PYTHON
from layerpack.units import folder_aside, key_of

_PACKAGES: Final = "runtime_client.txt"
_WHOLE: Final = f"{PYTHON}/awslambdaric/__init__.py"


def profile_of(manifest: Manifest) -> RuntimeProfile:
    """The runtime that a build is for."""
    return RuntimeProfile.load(
        manifest.runtime, "arm64" if manifest.architecture == "arm64" else "x86_64"
    )


def isolator_of(manifest: Manifest, wanted: Wanted, image: str, events: Events) -> Isolator:
    """What starts environments for a build's function; `image` is one that is asked for."""
    built_in = manifest.tools.get("image", "")
    return Isolator(wanted, profile_of(manifest), events, image=image, built_in=built_in)


def program_of(folder: Path, manifest: Manifest, cache: Cache, events: Events) -> Program:
    """What it takes to run a build's function.

    Raises UsageError for a build without one, and ResolveError where AWS's client cannot be
    downloaded.
    """
    events.step("unzipping the layers")
    trees = unzip_build(folder, manifest, cache)
    return Program(
        name=manifest.name,
        runtime=manifest.runtime,
        handler=manifest.function.handler if manifest.function else "",
        opt=trees.opt,
        task=trees.task,
        client=runtime_folder(profile_of(manifest), cache, events),
    )


def runtime_folder(profile: RuntimeProfile, cache: Cache, events: Events) -> Path:
    """The folder that stands for /var/runtime: AWS's client, and what comes with it."""
    text = data.text(_PACKAGES)
    home = cache.folder("runtime") / key_of(text, profile.runtime, profile.machine)
    if not (home / _WHOLE).exists():
        events.step("downloading the runtime's own packages")
        pins = parse_requirements(
            text,
            {
                "python_full_version": f"{profile.python}.0",
                "python_version": profile.python,
                "platform_machine": profile.machine,
                "sys_platform": "linux",
            },
        )
        context = BuildContext(
            profile=profile,
            cache=cache,
            on_step=events.step,
            progress=events.progress,
            on_output=events.output,
        )
        wheels = LocalBuilder().wheels(pins, context)
        payload, _ = payload_of(wheels, cache, profile.runtime, events.progress)
        with folder_aside(home, _WHOLE) as aside:
            payload.materialise(aside)
    return home / PYTHON


def read_event(name: str) -> bytes:
    """The event in a file, or from standard input (`-`). Raises UsageError where it is no JSON, or
    larger than Lambda takes."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    problem = event_problem(content)
    if problem:
        raise UsageError(f"the event {name} {problem}", "An event is one JSON value, up to 6 MB.")
    return content


def event_problem(content: bytes) -> str:
    """Why Lambda would not take an event, as a clause; empty where it would."""
    if len(content) > LARGEST_EVENT:
        return f"has {len(content):,} bytes, and Lambda takes {LARGEST_EVENT:,}"
    problem = json_problem(content)
    return f"is not JSON: {problem}" if problem else ""


def settings_of(
    manifest: Manifest,
    *,
    memory_mb: int,
    timeout: float,
    tmp_mb: int,
    network: bool,
    variables: Sequence[str],
) -> Settings:
    """A function's configuration; `variables` are `NAME=VALUE`, beside those that its build names.
    Raises UsageError."""
    values = dict(manifest.function.environment) if manifest.function else {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--env {text!r} is no NAME=VALUE")
        if problem := variable_problem(name):
            raise UsageError(f"--env {text!r}: {problem}", "Leave it out, or name it otherwise.")
        values[name] = value
    return Settings(
        memory_mb=memory_mb,
        timeout=timeout,
        tmp_mb=tmp_mb,
        network=network,
        processors=memory_mb / MB_A_PROCESSOR,
        variables=values,
    )


@contextmanager
def open_front(
    start: Callable[[], Environment], name: str, *, host: str, port: int, limit: int
) -> Iterator[HttpFront]:
    """The function called `name` behind HTTP, with up to `limit` environments that `start` starts;
    the first one starts at once.

    Raises UsageError where nothing can listen there, and what `start` raises.
    """
    pool = Pool(start, limit, start())
    try:
        try:
            front = HttpFront(pool, name, host, port)
        except OSError as error:
            raise UsageError(
                f"nothing can listen at {host}:{port}: {error.strerror or error}",
                "Choose another --host or --port.",
            ) from None
        try:
            yield front
        finally:
            front.close()
    finally:
        pool.close()
