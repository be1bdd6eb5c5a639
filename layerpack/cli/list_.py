"""`layerpack list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.aws_options import EndpointUrl, LayerNames, Profile, Regions, open_aws
from layerpack.cli.options import Format, FormatOption, Quiet, Verbose


def list_layers(
    build: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUILD]",
            help="Whose layers: a build folder, or its recipe (default: all of the account).",
        ),
    ] = None,
    layer: LayerNames = None,
    region: Regions = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List published layers, their versions, and the functions that use them.

    Exit codes: 0 done, 2 usage, 8 a region failed.
    """
    from layerpack.cli.builds import find_build
    from layerpack.cli.render_publish import print_stock
    from layerpack.cli.reporter import Reporter
    from layerpack.publish import stocks

    folder = find_build(build).folder if build else None
    layers = stocks.named_layers(folder, layer or [])
    aws = open_aws(profile, endpoint_url)
    regions = aws.regions(region or layers.regions)
    with Reporter(quiet=quiet, verbose=verbose) as reporter:
        found = stocks.look(aws, regions, layers.names, reporter.events)
    print_stock(found, format_)
    if error := stocks.stocks_error(found):
        raise error
