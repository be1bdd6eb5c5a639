"""`layerpack export`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.aws_options import given


class ToolOption(StrEnum):
    """Who deploys."""

    SAM = "sam"
    CDK = "cdk"
    TERRAFORM = "terraform"
    SERVERLESS = "serverless"
    CLOUDFORMATION = "cloudformation"


def export(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    to: Annotated[ToolOption, typer.Option(help="The tool that deploys.")],
    region: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where the layers are published, if in several regions."),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where they were published, if by another --endpoint-url."
        ),
    ] = None,
    zips: Annotated[
        bool, typer.Option("--zips", help="Name the local zips, also where they are published.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")
    ] = None,
) -> None:
    """Write a working snippet for a tool that deploys: its function and its layers.

    Layers are named by the ARNs that `publish` noted, or by their zips where they are not published
    as they are now. Paths hold from the file's folder (without --output: this one). A file that was
    edited since is not replaced.
    """
    from layerpack.cli.builds import find_build
    from layerpack.publish.export import export as snippet
    from layerpack.publish.snippets.deployable import MARK
    from layerpack.user_paths import write_output

    folder = find_build(build).folder
    to_file = output is not None and str(output) != "-"
    text = snippet(
        folder,
        to.value,
        beside=output.parent if output and to_file else Path(),
        region=given("--region", region),
        endpoint=given("--endpoint-url", endpoint_url).rstrip("/"),
        zips=zips,
    )
    if output and to_file:
        write_output(output, text, "--output", mark=MARK, is_sealed=True)
    else:
        sys.stdout.write(text)
