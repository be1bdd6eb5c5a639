"""`layerpack list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.aws_options import EndpointUrl, Profile, Regions
from layerpack.cli.options import Format, FormatOption, Quiet


def list_layers(
    build: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUILD]",
            help="Whose layers: a build folder, or its recipe (default: all of the account).",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A layer by its name, instead; repeatable."),
    ] = None,
    region: Regions = None,
    profile: Profile = "",
    endpoint_url: EndpointUrl = "",
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """List published layers, their versions, and the functions that use them.

    Exit codes: 0 done, 2 usage, 8 a region failed.
    """
    from layerpack.cli.builds import find_build
    from layerpack.cli.render_publish import print_stock
    from layerpack.cli.reporter import Reporter
    from layerpack.publish import stocks
    from layerpack.publish.aws import Access, Aws

    folder = find_build(build).folder if build else None
    names = stocks.layers_of(folder, layer or []).names if build or layer else None
    aws = Aws(Access(profile=profile, endpoint_url=endpoint_url))
    regions = aws.regions(region or [])
    with Reporter(quiet=quiet, verbose=False) as reporter:
        found = stocks.look(aws, regions, names, reporter.events)
    print_stock(found, format_)
    if error := stocks.error(found):
        raise error
