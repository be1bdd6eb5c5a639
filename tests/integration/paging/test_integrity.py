"""Files that are not what was packed end in one line that names them; and what the pager is."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from layerpack.elf import format as elf
from layerpack.elf import index
from layerpack.elf.pack import PackOptions
from layerpack.elf.pager import PAGER_SONAME, license_file, pager_file
from layerpack.elf.read import read, read_file
from tests.support.libraries import readelf
from tests.support.twins import Run, Twins, run_python, twins

CALL_ALL = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.call_all.restype = ctypes.c_uint64
print(library.call_all(3))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins(tmp_path_factory.mktemp("pair"), "", options=PackOptions(level=3))


@pytest.fixture
def copy(pair: Twins, tmp_path: Path) -> Path:
    """A packed library to damage, with the pager beside it."""
    shutil.copy(pair.packed.parent / PAGER_SONAME, tmp_path)
    return Path(shutil.copy(pair.packed, tmp_path))


def index_offset(data: bytes) -> int:
    return next(s.offset for s in read(data).segments if s.type == elf.PT_LAYERPACK)


def frames_offset(data: bytes) -> tuple[index.Index, int]:
    found = index.read_index(data[index_offset(data) :])
    load = next(load for load in read(data).loads if load.holds(found.frames))
    return found, found.frames - load.vaddr + load.offset


def refused(done: Run, path: Path, what: str) -> None:
    """The process ended by SIGABRT, before a wrong result, with a line that names the file."""
    assert (done.code, done.out) == (-signal.SIGABRT, "")
    assert done.err.startswith(f"layerpack: {path}: {what}")
    assert done.err.count("\n") == 1


def test_the_whole_file_works(pair: Twins, copy: Path) -> None:
    expected = run_python(CALL_ALL, pair.original)
    assert expected.code == 0
    assert run_python(CALL_ALL, copy) == expected


@pytest.mark.parametrize("part", ["header", "blocks", "checksum"])
def test_a_damaged_byte_of_each_frame(copy: Path, part: str) -> None:
    data = copy.read_bytes()
    found, start = frames_offset(data)
    code = [w for w in found.windows if w.runs[0].page < found.ranges[0].pages]
    assert len(code) >= 4
    for window in code[1:-1]:
        at = {"header": 2, "blocks": window.size // 2, "checksum": window.size - 1}[part]
        changed = bytearray(data)
        changed[start + window.offset + at] ^= 0x10
        copy.write_bytes(changed)
        refused(run_python(CALL_ALL, copy), copy, "its compressed code is damaged")


def test_bytes_that_are_a_sound_frame_of_other_code(copy: Path) -> None:
    data = copy.read_bytes()
    found, start = frames_offset(data)
    one, other = found.windows[1:3]
    smaller, larger = sorted((one, other), key=lambda window: window.size)
    frame = data[start + smaller.offset : start + smaller.offset + smaller.size]
    # A skippable frame (RFC 8878, 3.1.2) fills the rest.
    rest = larger.size - smaller.size
    if rest:
        frame += b"\x50\x2a\x4d\x18" + (rest - 8).to_bytes(4, "little") + bytes(rest - 8)
    changed = bytearray(data)
    changed[start + larger.offset : start + larger.offset + larger.size] = frame
    copy.write_bytes(changed)
    refused(run_python(CALL_ALL, copy), copy, "its compressed code is damaged")


@pytest.mark.parametrize("at", [0, 7, 12, 16, 24, 60, 72, 88, 100, 112, 120, 128, -9])
def test_a_damaged_byte_of_the_index(copy: Path, at: int) -> None:
    changed = bytearray(copy.read_bytes())
    start = index_offset(bytes(changed))
    size = int.from_bytes(changed[start + 16 : start + 24], "little")
    changed[start + at % size] ^= 1
    copy.write_bytes(changed)
    refused(run_python(CALL_ALL, copy), copy, "the index of its compressed code is damaged")


def test_another_version(copy: Path) -> None:
    changed = bytearray(copy.read_bytes())
    changed[index_offset(bytes(changed)) + 8] = 4
    copy.write_bytes(changed)
    refused(run_python(CALL_ALL, copy), copy, "it was packed for another version of")


def test_a_truncated_file(copy: Path) -> None:
    data = copy.read_bytes()
    _, start = frames_offset(data)
    for size in ((start + 4096) & ~4095, (start + len(data)) // 2 & ~4095):
        copy.write_bytes(data[:size])
        refused(run_python(CALL_ALL, copy), copy, "the file is truncated, or cannot be read")


def test_a_file_without_its_end(copy: Path) -> None:
    """The loader itself needs the program headers there."""
    data = copy.read_bytes()
    copy.write_bytes(data[: index_offset(data) & ~4095])
    done = run_python(CALL_ALL, copy)
    assert (done.code, done.out) == (1, "")
    assert f"OSError: {copy}: " in done.err


def test_truncated_while_it_is_in_use(copy: Path) -> None:
    code = f"{CALL_ALL[: CALL_ALL.index('print')]}\nimport os\nos.truncate(sys.argv[1], 4096)\n"
    code += "print(library.call_all(3))"
    refused(run_python(code, copy), copy, "the file is truncated, or cannot be read")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pager_runs_on_old_systems(machine: str) -> None:
    pager = read_file(pager_file(machine))
    assert pager.machine == machine
    assert pager.soname == PAGER_SONAME
    assert pager.needed == ("libc.so.6",)
    versions = [v for need in pager.versions_needed for v in need.versions]
    numbers = [tuple(int(n) for n in v.removeprefix("GLIBC_").split(".")) for v in versions]
    assert numbers
    assert max(numbers) <= (2, 17)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pager_exports_its_own_names_alone(machine: str) -> None:
    path = pager_file(machine)
    rows = [line.split() for line in readelf(path, "--dyn-syms").splitlines()]
    names = {row[7] for row in rows if len(row) == 8 and row[6].isdigit()}
    assert "layerpack_sigaction" in names
    assert {name for name in names if not name.startswith("layerpack_")} == set()
    flags = readelf(path, "--dynamic")
    assert "NODELETE" in flags
    assert "NOW" in flags
    assert "TLS" not in readelf(path, "--program-headers")
    assert "There are no sections" not in readelf(path, "--sections")
    assert ".symtab" not in readelf(path, "--sections")


def test_the_licence_of_the_decoder_goes_along() -> None:
    assert license_file().read_text().startswith("BSD License\n\nFor Zstandard software\n")
