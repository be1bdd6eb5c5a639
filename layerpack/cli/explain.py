"""`layerpack explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption


def explain(
    path: Annotated[
        str,
        typer.Argument(help="A file, folder or glob, such as numpy/core/tests or /opt/python/x.py"),
    ],
    build: Annotated[
        Path | None,
        typer.Option("--build", "-b", help="A build folder, or a built recipe (default: the one)."),
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Say why a file is gone, smaller, or still here."""
    from layerpack.cli.builds import find_build, only_build
    from layerpack.cli.render import print_explanation
    from layerpack.report.explain import explain as model

    found = find_build(build or only_build())
    print_explanation(model(path, found.manifest, found.inventory), format_)
