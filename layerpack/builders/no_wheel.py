"""Why a locked distribution has no wheel for the target, where that is its glibc."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from layerpack.builders.api import BuildContext
from layerpack.builders.fetch import NoWheelError
from layerpack.child_variables import tool_variables
from layerpack.indexes import pip_indexes, runner
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.runtime_lack import glibc_advice, glibc_lack

# Newer than that of any system today.
_NEWEST = 50
_MANYLINUX = re.compile(r"manylinux_2_(\d+)_")


def explained(error: NoWheelError, context: BuildContext) -> NoWheelError:
    """The error, with the glibc that the wheels need, where a newer one is all that is lacking."""
    profile = context.profile
    if error.pin is None or (minor := _needed(error.pin, profile, context)) is None:
        return error
    who = f"{error.pin.name}=={error.pin.version}"

    def works(other: RuntimeProfile) -> bool:
        return error.pin is not None and _wheel(error.pin, other, context) is not None

    return NoWheelError(
        f"{error.message}: {glibc_lack(who, minor, profile)}",
        glibc_advice(who, minor, profile, works),
        error.pin,
    )


def _needed(pin: Locked, profile: RuntimeProfile, context: BuildContext) -> int | None:
    newer = replace(profile, versions={**profile.versions, "GLIBC": (2, _NEWEST)})
    file = _wheel(pin, newer, context)
    needed = [int(text) for text in _MANYLINUX.findall(file or "")]
    return min(needed) if needed and min(needed) > profile.glibc[1] else None


def _wheel(pin: Locked, profile: RuntimeProfile, context: BuildContext) -> str | None:
    """The name of the wheel that pip would take for such a runtime; nothing is installed."""
    version = profile.python_version
    platforms = [word for name in profile.wheel_platforms for word in ("--platform", name)]
    result = runner(pip_indexes, tool_variables)(
        [
            *(sys.executable, "-P", "-m", "pip", "install", "--dry-run", "--ignore-installed"),
            *("--no-deps", "--only-binary", ":all:", "--target", "nowhere", "--report", "-"),
            *("--quiet", "--no-input", "--disable-pip-version-check"),
            *("--python-version", profile.python, "--implementation", "cp"),
            *("--abi", f"cp{version[0]}{version[1]}", *platforms),
            *(f"{pin.name}=={pin.version}", *context.index_options),
        ]
    )
    try:
        url = json.loads(result.output)["install"][0]["download_info"]["url"]
    except (ValueError, LookupError):
        return None
    return unquote(urlsplit(url).path).rpartition("/")[2]
