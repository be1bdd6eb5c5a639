"""Stand-ins, read by binutils and loaded by glibc on both machines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from layerpack import elf
from tests.support.libraries import readelf
from tests.support.roots import emulated_aarch64

_CALLER = """
    #include <dlfcn.h>
    #include <stdio.h>
    int main(int count, char **names) {
        void *handle = dlopen(names[1], RTLD_NOW);
        if (!handle) { puts(dlerror()); return 1; }
        int (*value)(void) = (int (*)(void)) dlsym(handle, "value");
        if (!value) { puts(dlerror()); return 1; }
        printf("%d\\n", value());
        return 0;
    }
    """


@pytest.mark.parametrize(("machine", "shown"), [("x86_64", "X86-64"), ("aarch64", "AArch64")])
def test_readelf_reads_it(
    tmp_path: Path, machine: Literal["x86_64", "aarch64"], shown: str
) -> None:
    path = tmp_path / "libq.so"
    path.write_bytes(elf.stand_in(machine, "libq.so.1"))
    assert path.stat().st_size < 600
    text = readelf(path, "--file-header", "--program-headers", "--dynamic")
    assert shown in text
    assert "Shared library: [$ORIGIN/libq.so.1]" in text
    assert "SONAME" not in text
    stack = next(line for line in text.splitlines() if "GNU_STACK" in line)
    assert " RW " in stack
    read = elf.read_file(path)
    assert (read.machine, read.needed, read.soname) == (machine, ("$ORIGIN/libq.so.1",), None)


def test_it_cannot_be_stripped_or_packed(tmp_path: Path) -> None:
    path = tmp_path / "libq.so"
    path.write_bytes(elf.stand_in("x86_64", "libq.so.1"))
    assert isinstance(elf.strip_file(path), elf.Refusal)
    packed = elf.pack(path, tmp_path / "packed.so", elf.PackOptions(level=3))
    assert isinstance(packed, elf.Refusal)


@pytest.mark.roots
def test_an_aarch64_program_opens_it(tmp_path: Path) -> None:
    system = emulated_aarch64()
    system.compile(tmp_path / "libq.so.1", "int value(void) { return 7; }", "-Wl,-soname,libq.so.1")
    (tmp_path / "libq.so").write_bytes(elf.stand_in("aarch64", "libq.so.1"))
    caller = system.compile(tmp_path / "caller", _CALLER, "-pie")
    # Elsewhere than where it was made, and by a relative path.
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("libq.so", "libq.so.1"):
        shutil.move(tmp_path / name, moved)
    for name in (str(moved / "libq.so"), "moved/libq.so"):
        run = subprocess.run(
            [*system.enter, caller, name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stdout) == (0, "7\n")
