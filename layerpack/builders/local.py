"""The embedded builder: no Docker, no root; sources are built with the target's Python."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

from layerpack import process
from layerpack.builders.api import BuildContext, SystemLibrary, WheelFile
from layerpack.builders.carriers import carried_library
from layerpack.builders.gather import gather
from layerpack.builders.source import build_wheel, local_pip
from layerpack.errors import BuildToolError
from layerpack.lock import Locked

_LDCONFIG = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$")


class LocalBuilder:
    """Builds on this machine (see builders.api.Builder)."""

    name = "local"
    image = ""

    def close(self) -> None:
        """See Builder: its programs end with their calls."""

    def wheels(self, pins: Sequence[Locked], context: BuildContext) -> tuple[WheelFile, ...]:
        """See Builder."""

        def build(pin: Locked, context: BuildContext) -> WheelFile:
            return build_wheel(pin, context, local_pip(pin, context.profile))

        return gather(pins, context, build)

    def pip_compile(self) -> process.Tool | None:
        """See Builder: the recipe's own resolver is on this machine."""
        return None

    def system_library(self, soname: str, context: BuildContext) -> SystemLibrary | None:
        """A library from a wheel that bundles it, else the host's.

        The wheels come first: they are the same on every machine, which the host's are not.
        """
        carried = carried_library(soname, context)
        if carried is None and platform.machine() == context.profile.machine:
            return _from_host(soname)
        return carried


def library_path(listing: str, soname: str, machine: str) -> str | None:
    """Where the loader finds a library of a machine, by what `ldconfig -p` prints there."""
    wanted = {"x86_64": "x86-64", "aarch64": "AArch64"}[machine]
    for line in listing.splitlines():
        match = _LDCONFIG.match(line)
        if match and match[1] == soname and wanted in match[2]:
            return match[3]
    return None


def _from_host(soname: str) -> SystemLibrary | None:
    """Where this machine's loader finds a library of its own architecture."""
    for tool in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = process.run([tool, "-p"]).output
        except BuildToolError:
            continue
        if path := library_path(listing, soname, platform.machine()):
            return SystemLibrary(path=Path(path).resolve(), origin="this machine", is_hosts=True)
    return None
