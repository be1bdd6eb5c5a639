"""`layerpack diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption


def diff(
    old: Annotated[Path, typer.Argument(help="A build folder, or a built recipe.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    format_: FormatOption = Format.TABLE,
) -> None:
    """Compare the sizes of two builds.

    Totals, layers to upload again, distributions, passes, and the files that changed most.
    """
    from layerpack.cli.builds import find_build
    from layerpack.cli.render import print_diff
    from layerpack.report.diff import diff as model

    before, after = find_build(old), find_build(new)
    result = model(
        before.manifest,
        after.manifest,
        old_files=before.inventory,
        new_files=after.inventory,
    )
    print_diff(result, format_)
