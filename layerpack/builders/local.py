"""The embedded builder: no Docker, no root; sources are built with the target's Python."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from layerpack import data, process
from layerpack.builders.api import BuildContext, SystemLibrary, WheelFile
from layerpack.builders.fetch import NoWheelError, cached_wheel, download
from layerpack.builders.source import build_wheel
from layerpack.builders.unpack import unpack
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked

_LDCONFIG = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$")


class LocalBuilder:
    """Builds on this machine (see builders.api.Builder)."""

    name = "local"

    def wheels(self, pins: Sequence[Locked], context: BuildContext) -> tuple[WheelFile, ...]:
        """See Builder."""
        found = {pin.name: wheel for pin in pins if (wheel := cached_wheel(pin, context))}
        missing = [pin for pin in pins if pin.name not in found]
        must_be_wheels = [pin for pin in missing if pin.name not in context.from_source]
        if must_be_wheels:
            context.on_step(f"downloading {len(must_be_wheels)} distributions")
            found |= download(must_be_wheels, context)
        for pin in missing:
            if pin.name in context.from_source:
                found[pin.name] = self._wheel_or_build(pin, context)
        return tuple(found[pin.name] for pin in pins)

    def _wheel_or_build(self, pin: Locked, context: BuildContext) -> WheelFile:
        """A published wheel is preferred even where source is allowed: nothing can go wrong."""
        try:
            return download([pin], context)[pin.name]
        except NoWheelError:
            return build_wheel(pin, context)

    def system_library(self, soname: str, context: BuildContext) -> SystemLibrary | None:
        """A library from a wheel that bundles it (data/system_libraries.json), else the host's.

        The wheels come first: they are built against an old glibc and are the same on every
        machine, which the host's libraries are not.
        """
        for carrier in data.load("system_libraries.json")["carriers"]:
            if carrier["soname"] == soname and carrier["machine"] == context.profile.machine:
                return _from_carrier(carrier, context)
        if platform.machine() == context.profile.machine:
            return _from_host(soname)
        return None


def _from_carrier(carrier: dict[str, str], context: BuildContext) -> SystemLibrary:
    pin = Locked(
        name=carrier["distribution"], version=carrier["version"], hashes=(carrier["sha256"],)
    )
    # The carrier is for a Python version of its own, whatever the recipe's: only its library is
    # taken, and held against the recipe's runtime like every other.
    profile = RuntimeProfile.load(carrier["runtime"], context.profile.architecture)
    context = replace(context, profile=profile)
    wheel = cached_wheel(pin, context)
    if wheel is None:
        context.on_step(f"downloading {carrier['soname']} (from {pin.name} {pin.version})")
        wheel = download([pin], context)[pin.name]
    return SystemLibrary(
        path=unpack(wheel, context.cache).files / carrier["member"],
        origin=f"{pin.name} {pin.version}",
        licence=carrier["licence"],
    )


def _from_host(soname: str) -> SystemLibrary | None:
    """Where this machine's loader finds a library of its own architecture (`ldconfig -p`)."""
    wanted = {"x86_64": "x86-64", "aarch64": "AArch64"}[platform.machine()]
    for tool in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = process.run([tool, "-p"]).output
        except BuildToolError:
            continue
        for line in listing.splitlines():
            match = _LDCONFIG.match(line)
            if match and match[1] == soname and wanted in match[2]:
                path = Path(match[3]).resolve()
                return SystemLibrary(path=path, origin="this machine", is_hosts=True)
    return None
