"""What the dynamic loader says of programs and libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerpack import loader
from layerpack.emulator.host_system import system_binds
from layerpack.loader import libraries_of, loader_of
from tests.support.recipes import HERE

EXIT = "60"
PAUSE = "34"


def static(folder: Path, call: str) -> Path:
    """A static program that does one system call of x86-64 again and again."""
    source, program = folder / "static.c", folder / "static"
    loop = f'for (;;) __asm__ volatile("syscall" : : "a"({call}), "D"(0) : "rcx", "r11", "memory");'
    source.write_text(f"void _start(void) {{ {loop} }}\n")
    subprocess.run(["gcc", "-static", "-nostdlib", "-o", program, source], check=True)
    return program


def test_a_program_has_a_loader_which_tells_its_libraries(tmp_path: Path) -> None:
    program = Path(sys.executable)
    assert "libc.so.6" in {
        path.name for path in libraries_of(program, loader_of(program), tmp_path)
    }


def test_a_static_program_has_no_loader(tmp_path: Path) -> None:
    program = static(tmp_path, EXIT)
    with pytest.raises(LookupError, match="static has no loader"):
        loader_of(program)
    with pytest.raises(LookupError, match="static has no loader"):
        system_binds(program, HERE)


@pytest.mark.timeout(60)
def test_a_program_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_SECONDS", 0.5)
    with pytest.raises(LookupError, match=r"static has not ended after 0\.5 s"):
        loader_of(static(tmp_path, PAUSE))
