"""`layerpack invoke`."""

from __future__ import annotations

import sys
from contextlib import closing
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
    from layerpack.emulation import read_event

    content = read_event(event)
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
        closing(function.start()) as environment,
    ):
        answer = environment.invoke(content)
    sys.stdout.buffer.write(answer.payload + b"\n")
    sys.stdout.buffer.flush()
    if quiet and answer.last_words:
        sys.stderr.write(answer.last_words + "\n")
    if answer.error_type:
        raise typer.Exit(7)
