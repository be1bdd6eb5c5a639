"""`layerpack serve`."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerpack.cli.invoke import (
    ImageName,
    Isolation,
    IsolationOption,
    Memory,
    Network,
    Timeout,
    TmpSize,
    Variables,
)
from layerpack.cli.options import CacheDir, Quiet, Verbose

if TYPE_CHECKING:
    from layerpack.emulator.environment import Environment


def serve(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any.")] = 9000,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="How many environments there may be.")
    ] = 10,
    memory: Memory = 1769,
    timeout: Timeout = 60.0,
    tmp_size: TmpSize = 512,
    network: Network = True,
    env: Variables = None,
    isolation: Isolation = IsolationOption.AUTO,
    image: ImageName = "",
    quiet: Quiet = False,
    verbose: Verbose = False,
    cache_dir: CacheDir = None,
) -> None:
    """Run a build's function behind HTTP, as Lambda would, until Ctrl-C.

    Lambda's Invoke API for its clients (`endpoint_url`), and every other path as an event of API
    Gateway's.

    Exit codes: 2 usage, 6 no such Python here, 130 Ctrl-C.
    """
    from layerpack.cache import Cache
    from layerpack.cli.builds import find_build
    from layerpack.cli.reporter import Reporter
    from layerpack.emulation import isolator_of, open_front, program_of, settings_of

    found = find_build(build)
    manifest = found.manifest
    settings = settings_of(
        manifest,
        memory_mb=memory,
        timeout=timeout,
        tmp_mb=tmp_size,
        network=network,
        variables=env or [],
    )
    cache = Cache.at(cache_dir)
    cache.make()
    lock = threading.Lock()

    def log(data: bytes) -> None:
        if not quiet:
            with lock:
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()

    reporter = Reporter(quiet=quiet, verbose=verbose)
    with closing(isolator_of(manifest, isolation.value, image, reporter.events)) as isolator:
        with reporter:
            program = program_of(found.folder, manifest, cache, reporter.events)
            isolator.prepare(program)

        def start() -> Environment:
            return isolator.environment(program, settings, log)

        name = program.name
        with open_front(start, name, host=host, port=port, limit=concurrency) as front:
            # A line that scripts may wait for.
            sys.stdout.write(f"{name} at {front.url}\n")
            sys.stdout.flush()
            front.serve()
