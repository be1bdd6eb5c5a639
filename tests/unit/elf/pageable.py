"""A library with enough code to be worth packing, and what stands in for the pager."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from tests.unit.elf.libraries import debug_library

#: Assembler makes much code quickly: functions of calls and data accesses, which unwind.
_BULK = """
__asm__(".text\\n.set n, 0\\n.rept {count}\\n.set n, n + 1\\n"
        ".cfi_startproc\\n push %rbp\\n.cfi_adjust_cfa_offset 8\\n"
        " mov $n, %edi\\n call answer@PLT\\n imul $n, %eax, %eax\\n"
        " mov table@GOTPCREL(%rip), %rdx\\n movss (%rdx), %xmm0\\n movss own(%rip), %xmm1\\n"
        " add (n & 7) * 4(%rdx), %eax\\n cmp $n, %eax\\n call install@PLT\\n"
        " pop %rbp\\n.cfi_adjust_cfa_offset -8\\n ret\\n.cfi_endproc\\n.endr\\n"
        ".section .rodata\\nown: .float 1.5\\n.text\\n");
"""
_SOURCE = """
#include <signal.h>
#include <stddef.h>
const char text[] = "what is read only stays";
int table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
int answer(void) { return 42; }
void handler(int number) { (void)number; }
void install(void) {
    struct sigaction action = {0};
    action.sa_handler = handler;
    signal(SIGUSR1, handler);
    sigaction(SIGUSR2, &action, NULL);
}
"""
_STUB = "int layerpack_signal(void) { return 0; } int layerpack_sigaction(void) { return 0; }"


def source(functions: int = 1500) -> str:
    """C source with `functions` functions of 60 bytes of code each."""
    return _SOURCE + _BULK.replace("{count}", str(functions))


def pageable_library(path: Path, *options: str, functions: int = 1500) -> Path:
    """Compile such a library, with debug information; `options` are gcc's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_compiled(options, functions))
    return path


@functools.cache
def _compiled(options: tuple[str, ...], functions: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lib.so"
        return debug_library(path, "-g3", *options, source=source(functions)).read_bytes()


def stub_pager(folder: Path) -> Path:
    """A library in `folder` with the pager's name, which pages nothing in."""
    path = folder / "liblayerpack_pager.so.1"
    return debug_library(path, "-g0", "-Wl,-soname,liblayerpack_pager.so.1", source=_STUB)


def complaints(path: Path) -> str:
    """What readelf has against a file's headers and dynamic section."""
    command = ["readelf", "-lWd", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr
