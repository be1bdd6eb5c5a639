"""`layerpack serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.emulator import (
    ImageName,
    Isolation,
    IsolationOption,
    Memory,
    Network,
    Timeout,
    TmpSize,
    Variables,
    emulated,
)
from layerpack.cli.options import CacheDir, Quiet, Verbose


def serve(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any.")] = 9000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name that requests may give this server in their Host header, such as that of "
            "a container's service; repeatable.",
        ),
    ] = None,
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
    from layerpack.emulation import open_front

    with (
        emulated(
            build,
            memory=memory,
            timeout=timeout,
            tmp_size=tmp_size,
            network=network,
            env=env,
            isolation=isolation,
            image=image,
            quiet=quiet,
            verbose=verbose,
            cache_dir=cache_dir,
        ) as function,
        open_front(
            function.start,
            function.name,
            host=host,
            port=port,
            limit=concurrency,
            report=function.report,
            allowed=allow_host or [],
        ) as front,
    ):
        # A line that scripts may wait for.
        sys.stdout.write(f"{function.name} at {front.url}\n")
        sys.stdout.flush()
        front.serve()
