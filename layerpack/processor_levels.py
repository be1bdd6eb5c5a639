"""Levels of a processor, and how numeric libraries are held to one.

Each library chooses its kernels when it starts, by what the processor has; a variable of its own
holds it to less. Names and values: OpenBLAS's README (OPENBLAS_CORETYPE), oneDNN's "CPU Dispatcher
Control", numpy's "CPU/SIMD Optimizations" and PyTorch's "ATen CPU capability". BLIS has no variable
in the versions that are on the index.

`baseline` and `neon` are what every processor of the architecture has, so that they need nothing.
For arm64 there is one more, `sve`: numpy, OpenBLAS and oneDNN all tell processors apart by it, and
Lambda's Graviton2 (Neoverse N1) is the last of its line without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, get_args

X86Level = Literal["baseline", "avx2", "avx512"]
ArmLevel = Literal["neon", "sve"]
Level = X86Level | ArmLevel
#: The levels of each architecture, as recipes call it, the lowest first: each has all that those
#: before it have.
LEVELS: Final[Mapping[str, tuple[Level, ...]]] = {
    "x86_64": get_args(X86Level),
    "arm64": get_args(ArmLevel),
}

#: What a level needs, as /proc/cpuinfo calls it.
_FLAGS: Final[Mapping[Level, frozenset[str]]] = {
    "baseline": frozenset(),
    "avx2": frozenset({"avx2", "fma"}),
    "avx512": frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}),
    "neon": frozenset(),
    "sve": frozenset({"sve"}),
}
_VARIABLES: Final[Mapping[Level, Mapping[str, str]]] = {
    "baseline": {
        "OPENBLAS_CORETYPE": "Prescott",
        "DNNL_MAX_CPU_ISA": "SSE41",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
    },
    "avx2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "avx512": {
        "OPENBLAS_CORETYPE": "SkylakeX",
        "DNNL_MAX_CPU_ISA": "AVX512_CORE",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
    },
    "neon": {
        "OPENBLAS_CORETYPE": "NEOVERSEN1",
        "DNNL_MAX_CPU_ISA": "ADVANCED_SIMD",
        "ONEDNN_MAX_CPU_ISA": "ADVANCED_SIMD",
        "ATEN_CPU_CAPABILITY": "default",
    },
    # Cores and lengths of vectors differ too much for more than numpy's, which is not held at all.
    "sve": {},
}
_NUMPY: Final = "NPY_DISABLE_CPU_FEATURES"
#: numpy's names of what is beyond a level, as its library spells them. Below AVX there is what it
#: may be compiled for altogether, which it does not let one take away.
_BEYOND: Final[Mapping[Level, re.Pattern[bytes]]] = {
    "baseline": re.compile(rb"\0(AVX[0-9A-Z_]*|F16C|FMA3|FMA4|XOP|X86_V[34])(?=\0)"),
    "avx2": re.compile(rb"\0(AVX512[A-Z_]*|X86_V4)(?=\0)"),
    "neon": re.compile(rb"\0(SVE)(?=\0)"),
}


def flags_in(cpuinfo: str) -> frozenset[str]:
    """What a processor has, as Linux calls it; `cpuinfo` is what /proc/cpuinfo says."""
    lines = cpuinfo.splitlines()
    return frozenset(
        next(
            (x.partition(":")[2].split() for x in lines if x.startswith(("flags", "Features"))), ()
        )
    )


def name_in(cpuinfo: str) -> str:
    """The processor's name; empty where Linux does not tell (arm64)."""
    lines = cpuinfo.splitlines()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def flags_here() -> frozenset[str]:
    """What this machine's processor has."""
    return flags_in(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"))


def lacking(level: Level, flags: frozenset[str]) -> tuple[str, ...]:
    """What a processor with those flags lacks for a level, sorted; empty where it has all."""
    return tuple(sorted(_FLAGS[level] - flags))


def variables(level: Level, libraries: Iterable[Path]) -> dict[str, str]:
    """The variables that hold `libraries` to a level: those that one of them looks for.

    A name that no bundled version knows is left out: it would promise what nothing keeps.
    """
    wanted = dict(_VARIABLES[level])
    told: dict[str, str] = {}
    for path in libraries:
        data = path.read_bytes()
        told |= {
            name: value
            for name, value in wanted.items()
            if name.encode() in data and value.lower().encode() in data.lower()
        }
        if level in _BEYOND and _NUMPY.encode() in data:
            features = {match[1].decode() for match in _BEYOND[level].finditer(data)}
            known = set(told.get(_NUMPY, "").split())
            told[_NUMPY] = " ".join(sorted(features | known))
    return {name: value for name, value in told.items() if value}


def levels_here(levels: Iterable[Level], libraries: Iterable[Path]) -> list[dict[str, str]]:
    """The variables for each level that this processor has; once none, where it has none of them,
    or there are none."""
    paths, flags = list(libraries), flags_here()
    return [variables(level, paths) for level in levels if not lacking(level, flags)] or [{}]
