"""What a user gets to know where all wheels are for another runtime: a newer glibc than that of its
system, or another Python."""

from __future__ import annotations

from collections.abc import Callable

from layerpack.limits import RuntimeProfile, runtimes


def glibc_lack(who: str, minor: int, profile: RuntimeProfile) -> str:
    """That the wheels of `who` need glibc 2.`minor`, and the runtime has an older one."""
    return (
        f"the wheels of {who} need glibc 2.{minor} (manylinux_2_{minor}); {_system(profile)}, the "
        f"system of {profile.runtime}, has glibc {_glibc(profile)}"
    )


def glibc_advice(
    who: str, minor: int, profile: RuntimeProfile, works: Callable[[RuntimeProfile], bool]
) -> str:
    """What to do: the oldest runtime with such a glibc that `works`, or an older version."""
    for runtime in runtimes():
        other = RuntimeProfile.load(runtime, profile.architecture)
        if other.glibc[1] >= minor and works(other):
            return (
                f"Use `runtime: {runtime}` ({_system(other)}, glibc {_glibc(other)}), or require "
                f"an older version of {who}."
            )
    return f"No runtime has such a glibc: require an older version of {who}."


def other_python(
    who: str,
    profile: RuntimeProfile,
    fits: Callable[[RuntimeProfile], bool],
    works: Callable[[RuntimeProfile], bool],
) -> tuple[str, str] | None:
    """That `who` (plural) need another Python, and what to do; None where no runtime has one.

    `fits` tells whether a runtime's Python is right, whatever its glibc, and `works` whether the
    runtime is. The nearest newer ones come first, then the nearest older ones.
    """
    here = runtimes().index(profile.runtime)
    for names, bound in ((runtimes()[here + 1 :], "newer"), (runtimes()[:here][::-1], "older")):
        others = [RuntimeProfile.load(name, profile.architecture) for name in names]
        right = next((one for one in others if fits(one)), None)
        if right is None:
            continue
        use = next((one for one in others[others.index(right) :] if works(one)), None)
        ways = [f"use `runtime: {use.runtime}`"] if use else []
        ways.append("require other versions")
        # An older release may have a source that builds.
        ways += ["try build.from-source"] if bound == "older" else []
        return (
            f"{who} need Python {right.python} or {bound}; {profile.runtime} has Python "
            f"{profile.python}",
            f"{', or '.join(ways).capitalize()}.",
        )
    return None


def _system(profile: RuntimeProfile) -> str:
    return profile.system.replace("-", " ").title()


def _glibc(profile: RuntimeProfile) -> str:
    return ".".join(map(str, profile.glibc))
