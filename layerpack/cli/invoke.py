"""`layerpack invoke`."""

from __future__ import annotations

import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import CacheDir, Quiet, Verbose


class IsolationOption(StrEnum):
    """How the function is kept apart from this machine."""

    AUTO = "auto"
    DOCKER = "docker"
    NAMESPACES = "namespaces"
    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"


Memory = Annotated[int, typer.Option(min=128, max=10240, help="The function's memory, in MB.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=900, help="Seconds that an invocation may take.")
]
TmpSize = Annotated[int, typer.Option(min=512, max=10240, help="The size of /tmp, in MB.")]
Network = Annotated[
    bool, typer.Option("--network/--no-network", help="Whether the function reaches the network.")
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable for the function; repeatable."),
]
Isolation = Annotated[
    IsolationOption,
    typer.Option(
        help="A container, Linux namespaces, those by bubblewrap, a plain process, or the best "
        "that can be had."
    ),
]
ImageName = Annotated[
    str,
    typer.Option(
        "--image",
        metavar="NAME",
        help="The image for a container (default: the one that it was built in, else AWS's own).",
    ),
]


def invoke(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    event: Annotated[
        str, typer.Option(metavar="FILE", help="The event, as JSON; - for standard input.")
    ],
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
    """Run a build's function once, as Lambda would.

    The answer goes to standard output; what the function prints, and Lambda's lines on it, to
    standard error.

    Exit codes: 0 answered, 2 usage, 6 no such Python here, 7 the function failed.
    """
    from layerpack.cache import Cache
    from layerpack.cli.builds import find_build
    from layerpack.cli.reporter import Reporter
    from layerpack.emulation import isolator_of, program_of, read_event, settings_of

    content = read_event(event)
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

    def log(data: bytes) -> None:
        if not quiet:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()

    reporter = Reporter(quiet=quiet, verbose=verbose)
    with closing(isolator_of(manifest, isolation.value, image, reporter.events)) as isolator:
        with reporter:
            program = program_of(found.folder, manifest, cache, reporter.events)
            isolator.prepare(program)
        with closing(isolator.environment(program, settings, log)) as environment:
            answer = environment.invoke(content)
    sys.stdout.buffer.write(answer.payload + b"\n")
    sys.stdout.buffer.flush()
    if answer.error_type:
        raise typer.Exit(7)
