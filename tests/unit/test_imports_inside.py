"""The function that imports modules in the sandbox."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_MAPPED = """\
import ctypes, os, sys
from layerpack.emulator.inside.imports import code_files
ctypes.CDLL(sys.argv[1])
os.unlink(sys.argv[1])
print("\\n".join(code_files()))
"""


def test_a_library_that_was_removed_since_has_its_own_name(tmp_path: Path) -> None:
    source, library = tmp_path / "x.c", tmp_path / "libx.so"
    source.write_text("int x(void) { return 1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    told = subprocess.run(
        [sys.executable, "-c", _MAPPED, library], check=True, capture_output=True, text=True
    )
    assert str(library) in told.stdout.splitlines()
