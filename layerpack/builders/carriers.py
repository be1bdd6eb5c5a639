"""Shared libraries out of wheels that bundle them (data/system_libraries.json).

They are built against an old glibc and are the same on every machine.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from layerpack import data
from layerpack.builders.api import BuildContext, SystemLibrary, WheelFile
from layerpack.builders.fetch import cached_wheel, download, wheel_name
from layerpack.builders.unpack import unpack
from layerpack.cache import Cache
from layerpack.errors import ResolveError
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.units import sha256_file, sorted_walk


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
        note=carrier.get("note", ""),
    )


def wheel_at(file: Path) -> WheelFile:
    """A wheel that lies beside the recipe. Raises ResolveError for a file that is none."""
    name, version, _ = wheel_name(file)
    digest = sha256_file(file)
    return WheelFile(
        name=name, version=version, path=file, sha256=digest, kind="wheel", origin_sha256=digest
    )


def library_in_wheel(soname: str, wheel: WheelFile, cache: Cache, named: str) -> SystemLibrary:
    """The library that a wheel carries for a soname, under whatever name auditwheel gave it;
    `named` is what the recipe says. Raises ResolveError where the wheel has none."""
    files = unpack(wheel, cache).files
    found = [path for path in sorted_walk(files) if carries(path.name, soname)]
    if not found:
        raise ResolveError(
            f"system-libraries: {wheel.path.name} holds no {soname}",
            "Name a wheel that carries the library, or the library's own file.",
        )
    return SystemLibrary(path=files / found[0], origin=named)


def carries(name: str, soname: str) -> bool:
    """Whether a file is called as a library of this soname: `libx-1a2b3c4d.so.1.6.8`, and with a
    tag as delocating tools add them (`libx-fiona-1a2b3c4d.so.1.6.8`)."""
    stem, _, version = soname.partition(".so")
    ending = re.escape(f".so{version}")
    pattern = rf"{re.escape(stem)}(-[\w.]+?)*?(-[0-9a-f]{{8}})?{ending}(\.[\d.]+)?"
    return bool(re.fullmatch(pattern, name))


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
