"""Real wheels, from GNU ld, gold and lld, patched by auditwheel or not: packed and compared."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.rebuild import verify
from tests.support.real_wheels import download
from tests.unit.elf.pageable import complaints

pytestmark = pytest.mark.recipe

WHEELS = {
    "x86_64": (
        *("mxnet==1.9.1", "numpy==1.26.4", "scipy==1.14.1", "spacy==3.8.2"),
        *("pydantic-core==2.27.1", "onnxruntime==1.20.1", "scikit-learn==1.5.2"),
        "lightgbm==4.5.0",
    ),
    "aarch64": ("numpy==1.26.4", "scipy==1.14.1", "spacy==3.8.7", "onnxruntime==1.20.1"),
}
OPTIONS = elf.PackOptions(level=1, threads=2)
#: Of a library that loads this many bytes, enough are code for it to be packed.
LARGE = 400_000
#: At most this share of a large one's bytes is left, at level 1.
SHARES = {
    "libmxnet.so": 0.40,
    "libopenblas.so.0": 0.45,
    "libonnxruntime.so.1.20.1": 0.50,
    "lib_lightgbm.so": 0.55,
}


@pytest.fixture(scope="module", params=WHEELS)
def libraries(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return download(folder, *WHEELS[request.param], machine=request.param)


def _outcomes(
    libraries: list[Path], folder: Path
) -> Iterator[tuple[Path, Path, elf.PackResult | elf.Refusal]]:
    for number, path in enumerate(libraries):
        destination = folder / str(number) / path.name
        yield path, destination, elf.pack(path, destination, OPTIONS)


def test_all_are_packed_or_too_small(libraries: list[Path], tmp_path: Path) -> None:
    """`pack` compares by itself; nothing large may fail that, or be refused otherwise."""
    reasons: Counter[str] = Counter()
    packed: list[Path] = []
    for path, destination, result in _outcomes(libraries, tmp_path):
        if isinstance(result, elf.Refusal):
            assert "pages" in result.reason or "hardly" in result.reason, (path, result)
            loaded = sum(load.filesz for load in elf.read_file(path).loads)
            assert loaded < LARGE, (path, result)
            reasons[result.reason] += 1
            continue
        packed.append(destination)
        share = result.packed_bytes / result.original_bytes
        assert share < SHARES.get(path.name, 0.9), path
        before, after = elf.read_file(path), elf.read_file(destination)
        assert after.needed == (*before.needed, "liblayerpack_pager.so.1")
        assert after.versions_needed == before.versions_needed
    assert len(packed) > 60, reasons
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(complaints, packed)) == {""}


def test_tools_read_what_is_packed(libraries: list[Path], tmp_path: Path) -> None:
    """Symbols and relocations are where they were, as readelf finds them by the dynamic section."""
    path = max(
        (one for one in libraries if one.stat().st_size < 8_000_000),
        key=lambda one: one.stat().st_size,
    )
    destination = tmp_path / path.name
    assert isinstance(elf.pack(path, destination, OPTIONS), elf.PackResult)
    shown = []
    for one in (path, destination):
        command = ["readelf", "--use-dynamic", "--relocs", "--wide", str(one)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        # Renamed imports have names beyond DT_STRSZ, which readelf does not follow.
        lines = [line.split()[:4] for line in run.stdout.splitlines() if line.startswith("0000")]
        shown.append(lines)
    assert len(shown[0]) > 500
    assert shown[0] == shown[1]


def test_sections_are_not_needed(libraries: list[Path], tmp_path: Path) -> None:
    """Without them nearly as much code is found, by what the unwinder relies on."""
    checked = 0
    for path in libraries:
        data = bytearray(path.read_bytes())
        if not 1_000_000 < len(data) < 20_000_000:
            continue
        with_sections = elf.pageable_ranges(path)
        data[40:48] = bytes(8)
        data[58:64] = bytes(6)
        bare = tmp_path / path.name
        bare.write_bytes(data)
        without = elf.pageable_ranges(bare)
        code = [sum(r.pages for r in found if r.flags & 1) for found in (with_sections, without)]
        # The last function's end is not known, and it can be a long one.
        assert code[0] * 0.9 - 4 <= code[1] <= code[0] + 2, path
        checked += 1
        if checked % 10 == 1:
            # The sections that stayed follow the segments, unseen, and are not data of its own.
            destination = tmp_path / "packed" / path.name
            result = elf.pack(path, destination, elf.PackOptions(level=1, ranges=without))
            assert isinstance(result, elf.PackResult), (path, result)
            assert verify(path, destination) is None
            destination.unlink()
    assert checked > 10
