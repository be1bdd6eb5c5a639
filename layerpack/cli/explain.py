"""`layerpack explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption


def explain(
    path: Annotated[
        str,
        typer.Argument(
            help="A file, folder or glob, such as numpy/core/tests or /opt/python/x.py; or "
            "'operator' or 'cpu'"
        ),
    ],
    name: Annotated[
        str, typer.Argument(help="With 'operator' or 'cpu': the one of them.", show_default=False)
    ] = "",
    build: Annotated[
        Path | None,
        typer.Option("--build", "-b", help="A build folder, or a built recipe (default: the one)."),
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Say why a file is gone, smaller, or still here; what an operator or a processor's kernels
    cost."""
    from layerpack.cli.builds import find_build, only_build
    from layerpack.cli.render import print_explanation, print_parts_explanation
    from layerpack.errors import UsageError
    from layerpack.report.explain import explain as model
    from layerpack.report.explain_parts import Kind, explain_parts

    found = find_build(build or only_build())
    if path in ("operator", "cpu"):
        kind: Kind = "operator" if path == "operator" else "variant"
        parts = explain_parts(kind, name, found.manifest, found.inventory)
        print_parts_explanation(parts, format_)
        return
    if name:
        raise UsageError(
            f"'{path}' takes no second word",
            "Write `layerpack explain operator NAME`, `layerpack explain cpu NAME` or one path.",
        )
    print_explanation(model(path, found.manifest, found.inventory), format_)
