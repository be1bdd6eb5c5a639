"""A library with enough code to be worth packing, and what stands in for the pager."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.elf.libraries import debug_library

_FUNCTION = """
int f{0}(int x) {{
    for (int i = 0; i < x % 17; i++) x = x * {1} + (x >> {2}) + f{3}(i - 9);
    return x < 0 ? {0} : table[(x ^ {0}) & 7];
}}
"""
#: The program reads `table`, which stays, and calls `answer` only with a pager.
_REST = """
const char text[] = "what is read only stays";
int table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
int answer(void) { return f1(3) * 0 + 42; }
void handler(int number) { (void)number; }
void install(void) {
    struct sigaction action = {0};
    action.sa_handler = handler;
    signal(SIGUSR1, handler);
    sigaction(SIGUSR2, &action, NULL);
}
"""
_STUB = "int layerpack_signal(void) { return 0; } int layerpack_sigaction(void) { return 0; }"


def source(functions: int = 1200) -> str:
    """C source of `functions` functions, about 100 bytes of code each."""
    parts = ["#include <signal.h>\n#include <stddef.h>\nextern int table[8]; int f0(int x);\n"]
    for number in range(functions):
        called = max(number - 1, 0)
        parts.append(_FUNCTION.format(number, number * 3 + 1, number % 11, called))
    return "".join(parts) + _REST


def pageable_library(path: Path, *options: str, functions: int = 1200) -> Path:
    """Compile such a library, with debug information; `options` are gcc's."""
    return debug_library(path, "-g1", *options, source=source(functions))


def stub_pager(folder: Path) -> Path:
    """A library in `folder` with the pager's name, which pages nothing in."""
    path = folder / "liblayerpack_pager.so.1"
    return debug_library(path, "-Wl,-soname,liblayerpack_pager.so.1", source=_STUB)


def complaints(path: Path) -> str:
    """What readelf has against a file's headers and dynamic section."""
    command = ["readelf", "-lWd", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr
