"""`layerpack prune`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.aws_options import (
    DryRun,
    EndpointUrl,
    LayerNames,
    Profile,
    Regions,
    Yes,
    open_aws,
)
from layerpack.cli.options import Format, FormatOption, Quiet, Verbose
from layerpack.errors import UsageError


def prune(
    build: Annotated[
        Path | None,
        typer.Argument(metavar="[BUILD]", help="Whose layers: a build folder, or its recipe."),
    ] = None,
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many versions of each layer to keep.")
    ] = 3,
    layer: LayerNames = None,
    region: Regions = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete old versions of a build's layers.

    Shows them first, and asks. The newest of each layer stay, and those that a function of the
    account still uses, in whichever of its versions.

    Exit codes: 0 done, 2 usage, 8 a region failed.
    """
    from layerpack.build_folder import BuildFolder
    from layerpack.cli.builds import find_build
    from layerpack.cli.confirm import confirm
    from layerpack.cli.render_publish import print_stock
    from layerpack.cli.reporter import Reporter
    from layerpack.publish import stocks

    folder = find_build(build).folder if build else None
    if folder is None and not layer:
        raise UsageError("whose layers?", "layerpack prune build/bert, or --layer NAME.")
    layers = stocks.named_layers(folder, layer or [])
    aws = open_aws(profile, endpoint_url)
    regions = aws.regions(region or layers.regions)
    reporter = Reporter(quiet=quiet, verbose=verbose)
    with reporter:
        found = stocks.look(aws, regions, layers.names, reporter.events)
        stocks.choose(found, keep)
    count = sum(len(one.going) for one in found)
    if count and not dry_run:
        if not yes:
            print_stock(found, Format.TABLE, to_errors=True)
            confirm(f"Delete these {count} versions?", "prune asks first, and nobody can be asked")
        # What is noted of them is read once nobody else writes it.
        with BuildFolder(folder).published() if folder else nullcontext(), reporter:
            stocks.delete(aws, found, folder, reporter.events)
    print_stock(found, format_, done=not dry_run)
    if error := stocks.stocks_error(found):
        raise error
