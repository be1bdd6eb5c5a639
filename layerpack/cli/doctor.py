"""`layerpack doctor`."""

from __future__ import annotations

from layerpack.cli.options import CacheDir, Format, FormatOption


def doctor(format_: FormatOption = Format.TABLE, cache_dir: CacheDir = None) -> None:
    """Show the tools for builds on this machine.

    Container engine, interpreters, compilers, uv, disk, and whether there are credentials. No
    recipe needs all of them: each missing one is reported with its purpose.
    """
    from layerpack.cache import Cache
    from layerpack.cli.render import print_checks
    from layerpack.doctor import examine

    print_checks(examine(Cache.at(cache_dir).root), format_)
