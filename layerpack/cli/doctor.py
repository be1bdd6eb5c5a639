"""`layerpack doctor`."""

from __future__ import annotations

from layerpack.cli.options import CacheDir, Format, FormatOption


def doctor(format_: FormatOption = Format.TABLE, cache_dir: CacheDir = None) -> None:
    """Show what this machine has for builds.

    Container engine, interpreters, compilers, uv, disk, and whether there are credentials. Nothing
    of it is needed by every recipe: what is missing is told with what it would be for.
    """
    from layerpack.cache import Cache
    from layerpack.cli.render import print_checks
    from layerpack.doctor import examine

    print_checks(examine(Cache.at(cache_dir).root), format_)
