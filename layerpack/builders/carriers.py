"""Shared libraries out of wheels that bundle them (data/system_libraries.json).

They are built against an old glibc and are the same on every machine.
"""

from __future__ import annotations

from dataclasses import replace

from layerpack import data
from layerpack.builders.api import BuildContext, SystemLibrary
from layerpack.builders.fetch import cached_wheel, download
from layerpack.builders.unpack import unpack
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked


def carried_library(soname: str, context: BuildContext) -> SystemLibrary | None:
    """The library from the wheel that is known to carry it; None where none is known.

    Raises ResolveError when the wheel cannot be downloaded.
    """
    carrier = _carrier(soname, context.profile)
    if carrier is None:
        return None
    pin = Locked(
        name=carrier["distribution"], version=carrier["version"], hashes=(carrier["sha256"],)
    )
    # The carrier is for a Python version of its own, whatever the recipe's: only its library is
    # taken, and held against the recipe's runtime like every other.
    profile = RuntimeProfile.load(carrier["runtime"], context.profile.architecture)
    context = replace(context, profile=profile)
    wheel = cached_wheel(pin, context)
    if wheel is None:
        context.on_step(f"downloading {soname} (from {pin.name} {pin.version})")
        wheel = download([pin], context)[pin.name]
    return SystemLibrary(
        path=unpack(wheel, context.cache).files / carrier["member"],
        origin=f"{pin.name} {pin.version}",
        licence=carrier["licence"],
    )


def known_licence(soname: str, profile: RuntimeProfile) -> str:
    """The library's licence (SPDX), as the carriers' list has it; empty where it has not."""
    carrier = _carrier(soname, profile)
    return carrier["licence"] if carrier else ""


def _carrier(soname: str, profile: RuntimeProfile) -> dict[str, str] | None:
    carriers: list[dict[str, str]] = data.load("system_libraries.json")["carriers"]
    return next(
        (
            carrier
            for carrier in carriers
            if (carrier["soname"], carrier["machine"]) == (soname, profile.machine)
        ),
        None,
    )
