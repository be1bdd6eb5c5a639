"""The other architecture, without its hardware: what is packed is read back branch by branch."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import zstandard

from layerpack import elf
from layerpack.elf.index import PAGE
from tests.support.real_wheels import download

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    found = download(folder, "pydantic-core==2.27.1", machine="aarch64")
    return next(path for path in found if path.name.startswith("_pydantic_core"))


def _read(path: Path) -> tuple[elf.Index, bytes, elf.SharedObject]:
    data = path.read_bytes()
    source = elf.read(data)
    segment = next(s for s in source.segments if s.type == 0x6C706167)
    return elf.read_index(data[segment.offset :]), data, source


def test_branches_are_stored_as_addresses(library: Path, tmp_path: Path) -> None:
    """Undone here word by word, as the pager's C does it, every page is the original's."""
    packed = tmp_path / library.name
    result = elf.pack(library, packed, elf.PackOptions(level=3))
    assert isinstance(result, elf.PackResult)
    index, data, source = _read(packed)
    assert index.filter == 2
    original, loads = library.read_bytes(), elf.read_file(library).loads
    tail = source.loads[-1]
    branches = 0
    for window in index.windows[:20]:
        start = tail.offset + index.frames - tail.vaddr + window.offset
        plain = zstandard.ZstdDecompressor().decompress(data[start : start + window.size])
        (run,) = window.runs
        code = index.ranges[0]
        vaddr = code.vaddr + run.page * PAGE
        assert vaddr + len(plain) <= code.end
        words = list(struct.unpack(f"<{len(plain) // 4}I", plain))
        for number, word in enumerate(words):
            if word >> 26 == 0x25:
                distance = (word - ((vaddr + 4 * number) >> 2)) & 0x3FFFFFF
                words[number] = 0x25 << 26 | distance
                branches += 1
        load = next(one for one in loads if one.holds(vaddr, len(plain)))
        at = load.offset + vaddr - load.vaddr
        assert struct.pack(f"<{len(words)}I", *words) == original[at : at + len(plain)]
    assert branches > 5000


def test_segments_stay_apart_at_page_granularity(library: Path, tmp_path: Path) -> None:
    """The wheel's segments are aligned to 64 kB; Lambda's pages have 4 kB, and so do ours."""
    assert max(load.align for load in elf.read_file(library).loads) == 65536
    packed = tmp_path / library.name
    assert isinstance(elf.pack(library, packed, elf.PackOptions(level=3)), elf.PackResult)
    loads = elf.read_file(packed).loads
    # The first asks for the whole library's alignment, which newer loaders keep.
    assert [load.align for load in loads] == [65536, *[PAGE] * (len(loads) - 1)]
    ends = [-(-(load.vaddr + load.memsz) // PAGE) for load in loads]
    assert all(end <= load.vaddr // PAGE for end, load in zip(ends, loads[1:], strict=False))
