"""`layerpack cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from layerpack.cli.options import CacheDir, Format, FormatOption

if TYPE_CHECKING:
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import Removed

cache_app = typer.Typer(
    help="Show the cache of results, or remove from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="SIZE",
        help="The size limit, such as 20GB, or none (default: LAYERPACK_CACHE_SIZE, else 10GB).",
    ),
]


@cache_app.command()
def info(
    size: Size = None, format_: FormatOption = Format.TABLE, cache_dir: CacheDir = None
) -> None:
    """Show the cache's folder, and its size by kind of result.

    Exit codes: 0 done, 2 usage.
    """
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import size_limit, stocks
    from layerpack.cli.render import print_cache

    cache = Cache.at(cache_dir)
    print_cache(cache.root, size_limit(size), stocks(cache), format_)


@cache_app.command()
def prune(
    size: Size = None, format_: FormatOption = Format.TABLE, cache_dir: CacheDir = None
) -> None:
    """Remove the longest unused results, down to the size limit.

    Commands that add to the cache do this at their end.

    Exit codes: 0 done, 2 usage, or another layerpack uses the cache.
    """
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import prune as prune_cache
    from layerpack.cache_upkeep import size_limit

    cache = Cache.at(cache_dir)
    _print_removed(cache, prune_cache(cache, size_limit(size)), format_)


@cache_app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    format_: FormatOption = Format.TABLE,
    cache_dir: CacheDir = None,
) -> None:
    """Remove all results; the next builds take longer.

    Exit codes: 0 done, 2 usage, or another layerpack uses the cache.
    """
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import prune as prune_cache
    from layerpack.cli.confirm import confirm

    cache = Cache.at(cache_dir)
    cache.check()
    if not yes:
        confirm(f"Remove everything in {cache.root}?", "clear asks first, and nobody can be asked")
    _print_removed(cache, prune_cache(cache, 0), format_)


def _print_removed(cache: Cache, removed: Removed | None, format_: Format) -> None:
    from layerpack.cli.render import print_removed
    from layerpack.errors import UsageError

    if removed is None:
        raise UsageError(
            f"another layerpack uses the cache {cache.root}", "Try again once it has ended."
        )
    print_removed(removed, format_)
