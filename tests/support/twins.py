"""Twins: a library that gcc has just made, and the same library packed.

What a program prints and how it ends must not depend on which of the two it loads.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from layerpack.elf.pack import PackOptions, PackResult, pack
from layerpack.elf.pager import PAGER_SONAME, pager_file

FUNCTIONS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How a program ended (minus the signal's number, if by a signal) and what it wrote."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Twins:
    """`packed` lies in a folder of its own, with the pager beside it."""

    original: Path
    packed: Path


def filler(functions: int = FUNCTIONS, *, seed: int = 0) -> str:
    """C code of about 1 kB a function: `call(i, x)` calls one of them, `call_all(x)` all."""
    numbers = random.Random(seed)
    lines = ["#include <stdint.h>"]
    for i in range(functions):
        lines.append(f"static __attribute__((noinline)) uint64_t f{i}(uint64_t x) {{")
        lines += [
            f"x = (x ^ {numbers.getrandbits(60)}u) * {numbers.getrandbits(31) | 1}u"
            f" + (x >> {numbers.randrange(1, 60)});"
            for _ in range(30)
        ]
        lines.append("return x; }")
    names = ", ".join(f"f{i}" for i in range(functions))
    return "\n".join(
        [
            *lines,
            f"static uint64_t (*const all[])(uint64_t) = {{{names}}};",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "uint64_t call(int i, uint64_t x) { return all[i](x); }",
            "uint64_t call_all(uint64_t x) {"
            f" for (int i = 0; i < {functions}; i++) x += all[i](x); return x; }}",
            "#ifdef __cplusplus",
            "}",
            "#endif",
        ]
    )


def compile_c(path: Path, source: str, *options: str, cxx: bool = False) -> Path:
    """A library, unless `options` say otherwise, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = [] if "-pie" in options else ["-shared", "-fPIC"]
    command = ["g++" if cxx else "gcc", *kind, "-O0", "-pthread", "-o", str(path)]
    command += [
        "-D_GNU_SOURCE",
        f"-DFUNCTIONS={FUNCTIONS}",
        "-x",
        "c++" if cxx else "c",
        "-",
        "-x",
        "none",
        *options,
    ]
    subprocess.run(command, input=source, text=True, check=True)
    return path


def compile_program(path: Path, source: str) -> Path:
    """An executable that finds what it loads with dlopen."""
    return compile_c(path, source, "-pie", "-fPIE", "-ldl")


def twins(
    folder: Path, source: str, *, cxx: bool = False, options: PackOptions | None = None
) -> Twins:
    """Compile `source`, with `filler` before it, and pack the result."""
    original = compile_c(folder / "original" / "libtwin.so", filler() + source, cxx=cxx)
    return pack_twin(original, folder / "packed", options)


def pack_twin(original: Path, folder: Path, options: PackOptions | None = None) -> Twins:
    """The packed form of a library, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / original.name
    result = pack(original, packed, options or PackOptions(level=3))
    assert isinstance(result, PackResult), result
    shutil.copy(pager_file(platform.machine()), folder / PAGER_SONAME)
    return Twins(original=original, packed=packed)


def run(*command: Path | str, library: Path, env: dict[str, str] | None = None) -> Run:
    """Run a program that is to load `library`, which lies in the loader's path."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "LD_LIBRARY_PATH": str(library.parent), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Run(code=done.returncode, out=done.stdout, err=done.stderr)


def run_python(code: str, library: Path, env: dict[str, str] | None = None) -> Run:
    """Run Python code that finds the library in `sys.argv[1]`."""
    return run(sys.executable, "-c", code, library, library=library, env=env)
