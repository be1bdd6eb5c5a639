"""The shared libraries of this machine, as its loader lists them (ldconfig(8))."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from layerpack import process
from layerpack.errors import BuildToolError
from layerpack.loader import libraries_in


@cache
def host_libraries() -> dict[str, tuple[str, ...]]:
    """This machine's libraries, for its own processor; empty where there is no ldconfig."""
    for tool in ("ldconfig", "/sbin/ldconfig"):
        try:
            return libraries_in(process.run([tool, "-p"]).output, platform.machine())
        except BuildToolError:
            continue
    return {}


def host_library(soname: str) -> Path | None:
    """The file that this machine's loader finds for a soname; None where there is none."""
    paths = host_libraries().get(soname)
    return Path(paths[0]).resolve() if paths else None
