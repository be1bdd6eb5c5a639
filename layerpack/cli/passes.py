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
    from layerpack.passes.registry import built_in, passes_for
    from layerpack.recipe import Recipe

    if recipe is None:
        print_passes([(one, None) for one in built_in()], format_)
        return
    loaded = Recipe.load(recipe)
    wanted = passes_for(loaded)
    names = {one.name for one in wanted}
    others = [one for one in built_in() if one.name not in names]
    print_passes([(one, True) for one in wanted] + [(one, False) for one in others], format_)
