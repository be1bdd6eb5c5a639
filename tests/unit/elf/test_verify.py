"""The comparison of memory images must see every difference that a loader would."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from layerpack import elf
from tests.unit.elf.libraries import debug_library


@pytest.fixture
def library(tmp_path: Path) -> bytes:
    return debug_library(tmp_path / "lib.so").read_bytes()


def _edited(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def test_a_library_equals_itself(library: bytes) -> None:
    assert elf.memory_image_equal(library, library)


def test_any_loaded_byte_counts(library: bytes) -> None:
    generator = random.Random(1)
    source = elf.read(library)
    tables = range(source.program_headers + 56 * len(source.segments))
    for load in source.loads:
        places = [load.offset, load.offset + load.filesz - 1]
        places += [generator.randrange(load.offset, load.offset + load.filesz) for _ in range(20)]
        for at in places:
            if at in tables:
                continue
            changed = _edited(library, at, bytes([library[at] ^ 1]))
            try:
                assert not elf.memory_image_equal(library, changed), hex(at)
            except elf.ElfError:
                # It hit the dynamic section, and the file cannot be read any more.
                continue


def test_what_is_not_loaded_does_not_count(library: bytes) -> None:
    debug = next(s for s in elf.read(library).sections if s.name == ".debug_info")
    changed = _edited(library, debug.offset, b"\xff" * debug.size)
    assert elf.memory_image_equal(library, changed)


@pytest.mark.parametrize("field", [4, 40])
def test_rights_and_sizes_count(library: bytes, field: int) -> None:
    """Flags and memsz of the last PT_LOAD."""
    source = elf.read(library)
    index = max(i for i, s in enumerate(source.segments) if s.type == 1)
    at = source.program_headers + 56 * index + field
    (value,) = struct.unpack_from("<I", library, at)
    changed = _edited(library, at, struct.pack("<I", value + 1))
    assert not elf.memory_image_equal(library, changed)


def test_the_entry_point_counts(library: bytes) -> None:
    assert not elf.memory_image_equal(library, _edited(library, 24, b"\x01"))
