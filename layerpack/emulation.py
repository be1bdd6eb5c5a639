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
from layerpack.emulator.http_api import HttpFront
from layerpack.emulator.http_guard import is_host
from layerpack.emulator.pool import Pool
from layerpack.emulator.processor import MB_A_PROCESSOR
from layerpack.emulator.sandbox import Program, Settings
from layerpack.emulator.trees import unzip_build
from layerpack.errors import UsageError
from layerpack.events import Events
from layerpack.isolation import Isolator, Wanted
from layerpack.lambda_variables import CREDENTIALS, variable_problem
from layerpack.limits import RuntimeProfile, environment_problem, event_problem
from layerpack.lock import parse_requirements
from layerpack.manifest import Manifest
from layerpack.payload import PYTHON
from layerpack.units import is_sealed, key_of, sealed_folder

_PACKAGES: Final = "runtime_client.txt"


def profile_of(manifest: Manifest) -> RuntimeProfile:
    """The runtime that a build is for. Raises UsageError for one that this layerpack does not
    know."""
    try:
        return RuntimeProfile.load(manifest.runtime, manifest.architecture)
    except KeyError:
        raise UsageError(
            f"{manifest.name} was built for {manifest.runtime}, which this layerpack does not know",
            "Build the recipe again, for a runtime of Lambda's.",
        ) from None


def isolator_of(
    manifest: Manifest, wanted: Wanted, image: str, events: Events, cache: Cache
) -> Isolator:
    """What starts environments for a build's function; `image` is one that is asked for."""
    built_in = manifest.tools.get("image", "")
    return Isolator(wanted, profile_of(manifest), events, cache, image=image, built_in=built_in)


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
    if not is_sealed(home):
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
        payload = payload_of(wheels, cache, profile.runtime, events.progress).payload
        with sealed_folder(home) as aside:
            payload.materialise(aside)
    return home / PYTHON


def read_event(name: str) -> bytes:
    """The event in a file, or from standard input (`-`). Raises UsageError where it is no JSON, or
    larger than Lambda takes."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(
            f"the event {name} cannot be read: {error.strerror}",
            "Name a file with one JSON value, or - for standard input.",
        ) from None
    problem = event_problem(content)
    if problem:
        raise UsageError(f"the event {name} {problem}", "An event is one JSON value, up to 6 MB.")
    return content


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
            raise UsageError(f"--env expects NAME=VALUE, got {name!r}")
        # Reserved in a function's configuration, but a user may want real ones here.
        if name not in CREDENTIALS and (problem := variable_problem(name)):
            raise UsageError(
                f"--env {name!r}: {problem}", "Remove the option or rename the variable."
            )
        values[name] = value
    configured = {name: value for name, value in values.items() if name not in CREDENTIALS}
    if problem := environment_problem(configured):
        raise UsageError(
            f"--env, with function.environment: {problem}", "Give fewer or shorter variables."
        )
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
    start: Callable[[], Environment],
    name: str,
    *,
    host: str,
    port: int,
    limit: int,
    report: Callable[[str], None],
    allowed: Sequence[str] = (),
) -> Iterator[HttpFront]:
    """The function called `name` behind HTTP, with up to `limit` environments that `start` starts;
    the first one starts at once. `allowed` are names that requests may give it beside `host`;
    `report` gets a line on each request that fails for want of an environment.

    Raises UsageError where nothing can listen there or a name is none, and what `start` raises.
    """
    for one in allowed:
        if not is_host(one):
            raise UsageError(
                f"--allow-host expects a host's name or address without a port, got {one!r}"
            )
    pool = Pool(start, limit, start(), report)
    try:
        try:
            front = HttpFront(pool, name, host, port, report=report, allowed=allowed)
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
