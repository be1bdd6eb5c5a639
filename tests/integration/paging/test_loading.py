"""When a packed library is loaded: what other libraries do meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.elf import PackOptions, PackResult, pack
from layerpack.elf.pager import pager_file
from tests.support.code import compiled
from tests.support.twins import filler

NEEDED = """
extern int hook(int) __attribute__((weak));
static int seen = -1;
__attribute__((constructor)) static void start(void) { if (hook) seen = hook(100); }
int what_was_seen(void) { return seen; }
"""
USER = """
extern int what_was_seen(void);
int hook(int number) { return call(number, 1) != 0; }
int ask(void) { return what_was_seen(); }
"""


@pytest.mark.parametrize("sort", ["1", "2"])
def test_a_needed_librarys_constructor_may_call_back(tmp_path: Path, sort: str) -> None:
    compiled(tmp_path / "plain/libneeded.so", NEEDED, "-Wl,-soname,libneeded.so")
    options = (f"-L{tmp_path}/plain", "-lneeded", "-Wl,--no-as-needed")
    original = compiled(tmp_path / "plain/user.so", filler() + USER, *options)
    result = pack(original, tmp_path / "packed/user.so", PackOptions(level=3))
    assert isinstance(result, PackResult)
    shutil.copy(tmp_path / "plain/libneeded.so", tmp_path / "packed")
    shutil.copy(pager_file("x86_64"), tmp_path / "packed")
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).ask())"
    for folder in ("plain", "packed"):
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, tmp_path / folder / "user.so"],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(tmp_path / folder),
                "GLIBC_TUNABLES": f"glibc.rtld.dynamic_sort={sort}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "1\n"), (folder, done.stderr)
