"""`layerpack passes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption


def passes(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="[RECIPE]", help="Show which of them this recipe asks for."),
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """List the passes, in the order they run."""
    from layerpack.cli.render import print_passes
    from layerpack.passes.declared import declared
    from layerpack.recipe import Recipe

    loaded = Recipe.load(recipe) if recipe else None
    print_passes([(one, wanted if loaded else None) for one, wanted in declared(loaded)], format_)
