"""The compilers of the tests: gcc, and zig (clang), which the README's command installs.

zig compiles C++, and for aarch64, where a test needs no C or C++ library: its first build of
those takes minutes. GCC's own C++ compiler and cross-compiler are for tests with the markers
`cxx` and `roots`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import pytest

Language = Literal["c", "c++"]
GCC: Final = "gcc"
GXX: Final = "g++"
#: As gcc does it: nothing is bound at once, nor checked, unless the options say so.
_LIKE_GCC: Final = ("-fno-sanitize=all", "-nostdlib", "-Wl,-z,lazy", "-Wl,--undefined-version")
#: What a test can be parametrized with: gcc's machines, and zig's too.
GCC_MACHINES: Final = (
    pytest.param("x86_64"),
    pytest.param("aarch64", marks=pytest.mark.roots),
)
MACHINES: Final = (*GCC_MACHINES, pytest.param("aarch64 zig"))
#: The same for C++.
CXX_MACHINES: Final = (
    pytest.param("x86_64", marks=pytest.mark.cxx),
    pytest.param("aarch64", marks=pytest.mark.roots),
    pytest.param("x86_64 zig"),
    pytest.param("aarch64 zig"),
)
#: A folder of the session, common to its workers (tests/conftest.py).
SHARED: Final = "LAYERPACK_TESTS_SHARED"


def zig(machine: str = "x86_64", language: Language = "c") -> list[str]:
    """The command of a compiler without C library; `noipa`, which clang lacks, is `noinline`."""
    command = "cc" if language == "c" else "c++"
    target = ("-target", f"{machine}-linux-gnu")
    return [sys.executable, "-m", "ziglang", command, *target, "-Dnoipa=noinline", *_LIKE_GCC]


def processor(machine: str) -> str:
    """The processor of one of `MACHINES`, or of `CXX_MACHINES`."""
    return machine.removesuffix(" zig")


def compiler_for(machine: str, language: Language = "c") -> list[str]:
    """The command of a compiler for one of `MACHINES`, or of `CXX_MACHINES`."""
    if machine.endswith(" zig"):
        return zig(processor(machine), language)
    name = GCC if language == "c" else GXX
    return [name if machine == "x86_64" else f"{machine}-linux-gnu-{name}"]


def compile_source(
    path: Path, command: Sequence[str], source: str, *options: str, language: str = "c"
) -> Path:
    """Compile `source`, as standard input, to `path`; `options` stand behind it.

    What the same command made of the same source in this session is copied, unless an option
    names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shared = os.environ.get(SHARED)
    # Without a language, so that an option may name a library.
    whole = [*command, "-x", language, "-", "-x", "none", *options]
    if shared is None or any("/" in one for one in options if not one.startswith("-I")):
        _run(whole, path, source)
        return path
    key = hashlib.sha256("\0".join((*whole, source)).encode()).hexdigest()
    made = Path(shared) / "compiled" / key
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            aside = Path(folder) / path.name
            _run(whole, aside, source)
            aside.rename(made)
    path.unlink(missing_ok=True)
    shutil.copy(made, path)
    return path


def _run(command: Sequence[str], path: Path, source: str) -> None:
    environment = dict(os.environ)
    if shared := environment.get(SHARED):
        for kind in ("GLOBAL", "LOCAL"):
            environment[f"ZIG_{kind}_CACHE_DIR"] = str(Path(shared) / "zig")
    subprocess.run(
        [*command, "-o", str(path)], input=source, text=True, check=True, env=environment
    )
