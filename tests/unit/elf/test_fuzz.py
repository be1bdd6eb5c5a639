"""Damaged libraries: refused, or packed to what verifies; never a crash, never a hang."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.rebuild import verify
from tests.unit.elf.pageable import pageable_library
from tests.unit.elf.test_read import mutations

OPTIONS = elf.PackOptions(level=1)
#: No single file may take longer, in seconds; most take a hundredth of that.
_LONGEST = 5.0


@pytest.fixture(scope="module", params=["", "-Wl,-z,noseparate-code"])
def library(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bytes:
    options = [request.param] if request.param else []
    path = pageable_library(tmp_path_factory.mktemp("fuzz") / "lib.so", *options)
    return path.read_bytes()


def _table_mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    """Changes in hash tables, symbols, versions, relocations and unwind tables."""
    generator = random.Random(seed)
    parts = [
        s
        for s in elf.read(data).sections
        if s.name.startswith((".gnu", ".dyn", ".rela", ".eh_frame", ".hash")) and s.size >= 8
    ]
    results = []
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            part = generator.choice(parts)
            at = part.offset + generator.randrange(0, min(part.size, 256) - 7, 4)
            size = generator.choice([1, 2, 4, 8])
            value = generator.choice(
                [0, 1, 0x7FFFFFFF, 2**32 - 1, 2**64 - 1, generator.getrandbits(64)]
            )
            changed[at : at + size] = value.to_bytes(8, "little")[:size]
        # Half of them without sections, so that nothing else says where code is.
        if generator.random() < 0.5:
            changed[40:48] = bytes(8)
        results.append(bytes(changed))
    return results


def test_damaged_libraries(library: bytes, tmp_path: Path) -> None:
    cases = [*mutations(library, 150, seed=1), *_table_mutations(library, 100, seed=2)]
    outcomes = {"packed": 0, "refused": 0}
    source, destination = tmp_path / "lib.so", tmp_path / "packed" / "lib.so"
    for case in cases:
        source.write_bytes(case)
        start = time.monotonic()
        result = elf.pack(source, destination, OPTIONS)
        if isinstance(result, elf.PackResult):
            outcomes["packed"] += 1
            assert verify(source, destination) is None
            destination.unlink()
        else:
            outcomes["refused"] += 1
            assert result.reason
            assert not destination.exists()
        assert time.monotonic() - start < _LONGEST
    # Both happen often, or the mutations would not be worth much.
    assert min(outcomes.values()) > 40, outcomes


def test_damaged_packed_libraries(library: bytes, tmp_path: Path) -> None:
    source, destination = tmp_path / "lib.so", tmp_path / "packed.so"
    source.write_bytes(library)
    assert isinstance(elf.pack(source, destination, OPTIONS), elf.PackResult)
    data = destination.read_bytes()
    headers = elf.read(data).program_headers
    generator = random.Random(4)
    seen = 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            # Most in the tables, which the verdict is read from.
            start = generator.choice([0, headers, headers, generator.randrange(len(data))])
            at = min(start + generator.randrange(3000), len(data) - 8)
            size = generator.choice([1, 2, 4, 8])
            changed[at : at + size] = generator.randbytes(size)
        destination.write_bytes(changed)
        start_time = time.monotonic()
        seen += verify(source, destination) is not None
        assert time.monotonic() - start_time < _LONGEST
    # The others fell into padding between the parts of a file.
    assert seen > 130
