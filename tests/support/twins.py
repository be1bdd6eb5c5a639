"""Twins: a library that gcc has just made, and the same library packed.

What a program prints and how it ends must not depend on which of the two it loads.
"""

from __future__ import annotations

import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf import read_file, read_index
from layerpack.elf.format import PT_LAYERPACK
from layerpack.elf.pack import PackOptions, PackResult, pack
from layerpack.elf.pager import PAGER_SONAME, pager_file
from tests.support.compilers import Language, compile_source, compiler_for
from tests.support.symbols import symbols

FUNCTIONS = 600
#: Another pager than the built one, and what stands before the programs that load packed libraries:
#: set by the tests with the marker `sanitizers`, which run others with them.
PAGER: Final = "LAYERPACK_TESTS_PAGER"
UNDER: Final = "LAYERPACK_TESTS_UNDER"
#: C code of a library whose IFUNC resolver, and with it the loader, waits: it writes a byte to the
#: descriptor 101, and reads one from 102. It calls no function, as none may be bound by then.
WAITS_AS_IT_LOADS: Final = r"""
#include <sys/syscall.h>
static long call3(long number, long a, const void *b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x2 __asm__("x2") = c;
    register const void *x1 __asm__("x1") = b;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}
static int one(void) { return 1; }
static int (*choose(void))(void) {
    /* On aarch64 it is called once more. */
    static int waited;
    char byte = 0;
    if (!waited++) {
        call3(SYS_write, 101, &byte, 1);
        call3(SYS_read, 102, &byte, 1);
    }
    return one;
}
int chosen(void) __attribute__((ifunc("choose")));
int (*volatile pointer)(void) = chosen;
"""


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
    language: Language = "c++" if cxx else "c"
    kind = [] if "-pie" in options else ["-shared", "-fPIC"]
    command = [*compiler_for("x86_64", language), *kind, "-O0", "-pthread"]
    command += ["-D_GNU_SOURCE", f"-DFUNCTIONS={FUNCTIONS}"]
    return compile_source(path, command, source, *options, language=language)


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
    shutil.copy(this_pager(), folder / PAGER_SONAME)
    return Twins(original=original, packed=packed)


def is_paged(pair: Twins, function: str) -> bool:
    """Whether a function's first page is compressed in the packed library."""
    index = next(one for one in read_file(pair.packed).segments if one.type == PT_LAYERPACK)
    ranges = read_index(pair.packed.read_bytes()[index.offset :]).ranges
    start = symbols(pair.original)[function].start
    return any(one.vaddr <= start < one.end for one in ranges)


def this_pager() -> Path:
    """The pager of this machine: the built one, unless the environment names another."""
    return Path(os.environ.get(PAGER) or pager_file(platform.machine()))


def run(
    *command: Path | str,
    library: Path,
    env: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Run:
    """Run a program that is to load `library`, which lies in the loader's path; in `folder`, if not
    in this one."""
    under = shlex.split(os.environ.get(UNDER, ""))
    done = subprocess.run(
        [*under, *map(str, command)],
        cwd=folder,
        env={**os.environ, "LD_LIBRARY_PATH": str(library.parent), **(env or {})},
        capture_output=True,
        text=True,
        timeout=200 if under else 60,
        check=False,
    )
    return Run(code=done.returncode, out=done.stdout, err=done.stderr)


def run_python(
    code: str, library: Path, env: dict[str, str] | None = None, folder: Path | None = None
) -> Run:
    """Run Python code that finds the library in `sys.argv[1]`."""
    command = (sys.executable, "-c", code, library)
    return run(*command, library=library, env=env, folder=folder)
