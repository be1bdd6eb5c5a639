"""`layerpack lock`."""

from __future__ import annotations

from typing import Annotated

import typer

from layerpack.cli.options import Format, FormatOption, Quiet, RecipePath, Verbose


def lock(
    recipe: RecipePath,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", "-U", help="Take the newest versions that are allowed.")
    ] = False,
    upgrade_package: Annotated[
        list[str] | None,
        typer.Option("--upgrade-package", "-P", help="Upgrade only this distribution."),
    ] = None,
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pin a recipe to exact versions with hashes.

    The lock is written beside the recipe.

    Versions of an existing lock stay where they still fit, unless an upgrade is asked for.
    """
    from layerpack.cli.render import print_lock_change
    from layerpack.cli.reporter import Reporter
    from layerpack.lock import Lock
    from layerpack.locking import update_lock
    from layerpack.recipe import Recipe

    loaded = Recipe.load(recipe)
    former = Lock.read(loaded.lock_path)
    with Reporter(quiet=quiet, verbose=verbose) as reporter:
        new = update_lock(
            loaded, reporter.events, upgrade=upgrade, upgrade_packages=upgrade_package or ()
        )
    print_lock_change(loaded.lock_path, former, new, format_)
