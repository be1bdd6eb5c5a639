"""`layerpack lock`."""

from __future__ import annotations

from typing import Annotated

import typer

from layerpack.cli.options import (
    BaseImage,
    BuilderName,
    BuilderOption,
    CacheDir,
    Format,
    FormatOption,
    Quiet,
    RecipePath,
    Verbose,
)


def lock(
    recipe: RecipePath,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", "-U", help="Take the newest versions that are allowed.")
    ] = False,
    upgrade_package: Annotated[
        list[str] | None,
        typer.Option("--upgrade-package", "-P", help="Upgrade only this distribution."),
    ] = None,
    builder: BuilderOption = BuilderName.AUTO,
    base_image: BaseImage = "",
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
    cache_dir: CacheDir = None,
) -> None:
    """Pin a recipe to exact versions with hashes.

    The lock is written beside the recipe. In Docker pip-tools resolves, else what the recipe names.

    Versions of an existing lock stay where they still fit, unless an upgrade is asked for.
    """
    from contextlib import closing

    from layerpack.builders.choose import Wish, open_builder
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import in_use
    from layerpack.cli.render import print_lock_change
    from layerpack.cli.reporter import Reporter
    from layerpack.lock import Lock
    from layerpack.locking import update_lock
    from layerpack.recipe import Recipe

    loaded = Recipe.load(recipe)
    former = Lock.read(loaded.lock_path)
    cache = Cache.at(cache_dir)
    wish = Wish(builder=builder.value, base_image=base_image, doing="resolving")
    with (
        Reporter(quiet=quiet, verbose=verbose) as reporter,
        in_use(cache, reporter.events),
        closing(open_builder(loaded, wish, cache, reporter.events)) as opened,
    ):
        if former is not None and former.edit:
            reporter.events.warn(
                f"{loaded.lock_path}: {former.edit}; hashes are taken from the index"
            )
        new = update_lock(
            loaded,
            reporter.events,
            upgrade=upgrade,
            upgrade_packages=upgrade_package or (),
            builder=opened,
        )
    print_lock_change(loaded.lock_path, former, new, format_)
