"""`layerpack size-report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption


def size_report(
    build: Annotated[
        Path, typer.Argument(metavar="BUILD|RECIPE", help="A build folder, or a built recipe.")
    ],
    format_: FormatOption = Format.TABLE,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the page with the treemap here.")
    ] = None,
) -> None:
    """Show a build's sizes against the limits.

    By layer, distribution, pass and file, and what to do where it is over.

    Exit code 3 when the build is over a limit.
    """
    from layerpack.cli.builds import find_build
    from layerpack.cli.render import print_report
    from layerpack.report.html import MARK, html_report
    from layerpack.report.model import size_report as model
    from layerpack.user_paths import write_output

    found = find_build(build)
    report = model(found.manifest, found.inventory)
    if html is not None:
        write_output(html, html_report(report, found.inventory), "--html", mark=MARK)
    print_report(report, format_)
