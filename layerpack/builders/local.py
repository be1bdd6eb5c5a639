"""The embedded builder: no Docker, no root; sources are built with the target's Python."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace

from layerpack import process
from layerpack.builders.api import BuildContext, SystemLibrary, WheelFile
from layerpack.builders.carriers import carried_library
from layerpack.builders.gather import gather
from layerpack.builders.source import build_wheel, local_pip, local_toolchain
from layerpack.host_libraries import host_library
from layerpack.lock import Locked


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

        return gather(pins, replace(context, toolchain=local_toolchain()), build)

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


def _from_host(soname: str) -> SystemLibrary | None:
    """Where this machine's loader finds a library of its own architecture."""
    path = host_library(soname)
    return SystemLibrary(path=path, origin="this machine", is_hosts=True) if path else None
