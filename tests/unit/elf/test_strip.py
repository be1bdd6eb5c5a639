"""Stripping: what is loaded stays, byte for byte, and the loader agrees."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from layerpack import elf
from tests.unit.elf.libraries import answer_of, debug_library, patchelf, section_names
from tests.unit.elf.test_read import mutations


def _strip(path: Path) -> Path:
    """The stripped copy of a library that can be stripped."""
    before = path.read_bytes()
    result = elf.strip_symbols(before)
    assert isinstance(result, bytes), result
    assert len(result) < len(before)
    assert elf.memory_image_equal(before, result)
    stripped = path.with_name(f"stripped-{path.name}")
    stripped.write_bytes(result)
    return stripped


def _complaints(path: Path) -> str:
    command = ["readelf", "--wide", "--all", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_debug_information_goes_and_the_library_works(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "lib.so")
    assert {".symtab", ".strtab", ".debug_info", ".comment"} <= section_names(path)
    stripped = _strip(path)
    names = section_names(stripped)
    assert not {n for n in names if n.startswith(".debug")} | (
        names & {".symtab", ".strtab", ".comment"}
    )
    # What is loaded is still described, for later tools.
    assert {".dynsym", ".dynstr", ".text", ".dynamic", ".bss", ".tbss", ".tdata"} & names
    assert _complaints(stripped) == ""
    assert answer_of(stripped) == answer_of(path) == 42


@pytest.mark.parametrize(
    "options",
    [
        ("--set-rpath", "$ORIGIN/" + "long/" * 200),
        ("--set-soname", "a-much-longer-name-than-before.so.1"),
        ("--replace-needed", "libc.so.6", "libm.so.6", "--add-needed", "libc.so.6"),
        ("--page-size", "16384", "--set-rpath", "$ORIGIN/" + "x" * 3000),
    ],
)
def test_segments_behind_the_debug_information_survive(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = debug_library(tmp_path / "lib.so")
    debug_end = max(
        s.offset + s.size for s in elf.read_file(path).sections if s.name == ".debug_str"
    )
    patchelf(path, *options)
    assert max(load.offset for load in elf.read_file(path).loads) >= debug_end
    stripped = _strip(path)
    assert ".debug_info" not in section_names(stripped)
    assert _complaints(stripped) == ""
    assert answer_of(stripped) == 42
    # It can be patched again, which relies on the section headers.
    patchelf(stripped, "--set-rpath", "$ORIGIN/" + "again/" * 300)
    assert answer_of(stripped) == 42


@pytest.mark.parametrize(
    "option",
    ["-Wl,-z,max-page-size=65536", "-Wl,-z,max-page-size=0x200000", "-Wl,-z,noseparate-code"],
)
def test_other_page_sizes(tmp_path: Path, option: str) -> None:
    path = debug_library(tmp_path / "lib.so", option)
    assert answer_of(_strip(path)) == 42


def test_a_program_is_stripped_too(tmp_path: Path) -> None:
    program = tmp_path / "program"
    source = '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }'
    for options in (["-pie", "-fPIE"], ["-no-pie"], ["-static"]):
        subprocess.run(
            ["gcc", "-g", *options, "-o", str(program), "-x", "c", "-"],
            input=source,
            text=True,
            check=True,
        )
        stripped = _strip(program)
        stripped.chmod(0o755)
        run = subprocess.run([str(stripped)], capture_output=True, text=True, check=True)
        assert run.stdout == "hello\n"


def test_lying_section_headers_are_dropped(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "lib.so")
    data = bytearray(path.read_bytes())
    source = elf.read(bytes(data))
    index = next(i for i, s in enumerate(source.sections) if s.name == ".text")
    at = source.section_headers + index * 64
    data[at + 16 : at + 24] = struct.pack("<Q", source.sections[index].addr + 4096)
    path.write_bytes(data)
    stripped = _strip(path)
    assert elf.read_file(stripped).sections == ()
    assert answer_of(stripped) == 42


def test_missing_section_headers_are_no_obstacle(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "lib.so")
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    path.write_bytes(data)
    # Without sections, what follows the segments may be anything: it stays.
    result = elf.strip_symbols(bytes(data))
    assert result == elf.Refusal(reason="it carries data after its end, which it may read")


def test_once_is_enough(tmp_path: Path) -> None:
    stripped = _strip(debug_library(tmp_path / "lib.so"))
    assert elf.strip_file(stripped) == elf.Refusal(reason="it has nothing to strip")


def test_appended_data_stays(tmp_path: Path) -> None:
    data = debug_library(tmp_path / "lib.so").read_bytes() + b"archive"
    result = elf.strip_symbols(data)
    assert result == elf.Refusal(reason="it carries data after its end, which it may read")


def test_program_headers_outside_segments_are_refused(tmp_path: Path) -> None:
    data = bytearray(debug_library(tmp_path / "lib.so").read_bytes())
    count = struct.unpack_from("<H", data, 56)[0]
    moved = len(data) + -len(data) % 8
    data += bytes(moved - len(data)) + data[64 : 64 + 56 * count]
    data[32:40] = struct.pack("<Q", moved)
    result = elf.strip_symbols(bytes(data))
    assert result == elf.Refusal(reason="its program headers are in no segment")


def test_what_is_no_library_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert elf.strip_file(tmp_path / "empty") == elf.Refusal(reason="it is empty")
    assert elf.strip_symbols(b"no library") == elf.Refusal(reason="it is not an ELF file")


def test_garbage_is_refused_or_keeps_its_image(tmp_path: Path) -> None:
    path = patchelf(debug_library(tmp_path / "lib.so"), "--set-rpath", "$ORIGIN/" + "x" * 2000)
    stripped = 0
    for changed in mutations(path.read_bytes(), 1500, seed=20261102):
        result = elf.strip_symbols(changed)
        if isinstance(result, bytes):
            stripped += 1
            assert len(result) < len(changed)
            assert elf.memory_image_equal(changed, result)
    assert stripped > 100


def test_numpy_computes_the_same_after_stripping(tmp_path: Path) -> None:
    """A wheel that auditwheel repaired: OpenBLAS and gfortran in numpy.libs."""
    package = Path(np.__file__).parent
    for name in ("numpy", "numpy.libs"):
        shutil.copytree(
            package.with_name(name), tmp_path / name, ignore=shutil.ignore_patterns("tests")
        )
    stripped = 0
    for path in tmp_path.rglob("*.so*"):
        result = elf.strip_file(path)
        if isinstance(result, bytes):
            assert elf.memory_image_equal(path.read_bytes(), result)
            path.write_bytes(result)
            stripped += 1
    assert stripped > 5
    code = (
        "import numpy as np; a = np.random.default_rng(1).random((60, 60)); "
        "print(np.__file__); print(np.linalg.svd(a)[1].tobytes().hex(), np.fft.fft(a[0])[1])"
    )
    outputs = []
    for folder in (package.parent, tmp_path):
        run = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        where, numbers = run.stdout.splitlines()
        assert where.startswith(str(folder))
        outputs.append(numbers)
    assert outputs[0] == outputs[1]
