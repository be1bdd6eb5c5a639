"""`layerpack verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from layerpack.cli.emulator import ImageName, Isolation, IsolationOption
from layerpack.cli.options import (
    CacheDir,
    Format,
    FormatOption,
    Output,
    Quiet,
    RecipePath,
    Verbose,
)


def verify(
    recipe: RecipePath,
    output: Output = None,
    memory: Annotated[
        list[int] | None,
        typer.Option(
            min=128,
            max=10240,
            help="A memory size to measure with, in MB; repeatable (default: the recipe's).",
        ),
    ] = None,
    timings: Annotated[
        bool,
        typer.Option("--timings", help="Measure what bringing code in takes, by library."),
    ] = False,
    isolation: Isolation = IsolationOption.AUTO,
    image: ImageName = "",
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
    cache_dir: CacheDir = None,
) -> None:
    """Prove a recipe's build as `build` does, and measure its start, without building it.

    What is found is printed, and written into the build's manifest and report.

    Exit codes: 0 proven, or nothing of it can run here and the recipe has no `verify.required`
    (a warning and the record say so), 2 usage, 4 recipe, 6 build tool, 7 verification.
    """
    from layerpack import pipeline
    from layerpack.cache import Cache
    from layerpack.cli.render import print_proof
    from layerpack.cli.reporter import Reporter
    from layerpack.report.model import size_report
    from layerpack.verification import ProofOptions

    options = pipeline.BuildOptions(cache=Cache.at(cache_dir), output=output)
    proof = ProofOptions(
        wanted=isolation.value,
        image=image,
        memory=tuple(dict.fromkeys(memory or ())),
        timings=timings,
    )
    with Reporter(quiet=quiet, verbose=verbose) as reporter:
        result = pipeline.prove(recipe, options, proof, reporter.events)
    print_proof(size_report(result.manifest, result.inventory), result.manifest.verified, format_)
