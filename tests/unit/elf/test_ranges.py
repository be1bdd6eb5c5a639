"""Which pages may be absent: code and unwind tables, and nothing that is needed before."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.index import PAGE
from layerpack.elf.read import Section
from tests.support.libraries import readelf
from tests.unit.elf.libraries import debug_library
from tests.unit.elf.pageable import pageable_library, source

_UNWINDING = {".eh_frame_hdr", ".eh_frame", ".gcc_except_table"}
OLD = "-Wl,-z,noseparate-code"


@pytest.fixture(scope="module", params=["", OLD])
def library(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """With segments of their own for code, and with one for all that is not written."""
    options = [request.param] if request.param else []
    return pageable_library(tmp_path_factory.mktemp("ranges") / "lib.so", *options)


def _sections(path: Path) -> dict[str, range]:
    rows = re.findall(r"\] (\S+) +\w+ +(\w+) \w+ (\w+) ", readelf(path, "-S"))
    return {
        name: range(int(start, 16), int(start, 16) + int(size, 16)) for name, start, size in rows
    }


def _without_sections(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    result = path.with_name("no-sections.so")
    result.write_bytes(data)
    return result


def test_code_and_unwind_tables_are_chosen(library: Path) -> None:
    sections = _sections(library)
    found = elf.pageable_ranges(library)
    text = sections[".text"]
    assert found[0].flags == 5
    assert text.start <= found[0].vaddr < text.start + PAGE
    assert text.stop - PAGE < found[0].end <= text.stop
    (unwinding,) = found[1:]
    assert unwinding.flags == 4
    parts = [sections[name] for name in _UNWINDING & sections.keys()]
    assert min(p.start for p in parts) <= unwinding.vaddr
    assert unwinding.end <= max(p.stop for p in parts)
    assert unwinding.pages > 5


def test_all_else_stays(library: Path) -> None:
    found = elf.pageable_ranges(library)
    for name, part in _sections(library).items():
        if name in _UNWINDING | {".text"} or name.startswith(".debug") or not part.start:
            continue
        for one in found:
            assert part.stop <= one.vaddr or one.end <= part.start, name


def test_without_sections_functions_tell_where_code_is(library: Path) -> None:
    with_sections = elf.pageable_ranges(library)
    found = elf.pageable_ranges(_without_sections(library))
    code = found[0]
    assert code.flags == 5
    # The last function's end is not known, and the first page may hold the PLT.
    assert with_sections[0].vaddr == code.vaddr
    assert with_sections[0].end - PAGE <= code.end <= with_sections[0].end
    for name in (".init", ".plt", ".fini", ".rodata", ".rela.dyn", ".dynsym"):
        part = _sections(library)[name]
        assert all(part.stop <= one.vaddr or one.end <= part.start for one in found), name
    header = _sections(library)[".eh_frame_hdr"]
    assert all(header.start <= one.vaddr and one.end <= header.stop for one in found[1:])


def test_ifunc_resolvers_run_early_so_code_stays(tmp_path: Path) -> None:
    extra = """
    static int fast(void) { return 1; }
    static int (*choose(void))(void) { return fast; }
    %s int chosen(void) __attribute__((ifunc("choose")));
    int user(void) { return chosen(); }
    """
    for scope in ("static", ""):
        path = debug_library(tmp_path / "lib.so", "-g1", source=source() + extra % scope)
        assert "IFUNC" in readelf(path, "-s", "-r") or "IRELATIV" in readelf(path, "-r")
        found = elf.pageable_ranges(path)
        assert found and {one.flags for one in found} == {4}


@pytest.mark.parametrize(
    "lie",
    [
        lambda section: (section.addr // PAGE // 2 * PAGE, section.size + 0x200000),
        lambda section: (0, 1 << 40),
        lambda section: ((1 << 64) - 4096, 8192),
        lambda section: (section.addr, (1 << 64) - 1),
    ],
)
def test_lying_sections_do_no_harm(
    tmp_path: Path, lie: Callable[[Section], tuple[int, int]]
) -> None:
    path = pageable_library(tmp_path / "lib.so", OLD)
    source = elf.read_file(path)
    honest = _sections(path)
    data = bytearray(path.read_bytes())
    number = next(n for n, s in enumerate(source.sections) if s.name == ".text")
    fields = lie(source.sections[number])
    struct.pack_into("<Q", data, source.section_headers + 64 * number + 16, fields[0])
    struct.pack_into("<Q", data, source.section_headers + 64 * number + 32, fields[1])
    path.write_bytes(data)
    for one in elf.pageable_ranges(path):
        assert one.vaddr % PAGE == 0 and one.pages > 0
        assert any(
            load.vaddr <= one.vaddr and one.end <= load.vaddr + load.filesz and not load.flags & 2
            for load in source.loads
        )
        for name in (".dynsym", ".dynstr", ".gnu.hash", ".rela.dyn", ".rela.plt", ".init", ".fini"):
            part = honest[name]
            assert part.stop <= one.vaddr or one.end <= part.start, name


def test_a_large_stack_is_no_obstacle(tmp_path: Path) -> None:
    path = pageable_library(tmp_path / "lib.so", "-Wl,-z,stack-size=1048576")
    assert "0x100000" in readelf(path, "-l")
    assert elf.pageable_ranges(path)[0].pages > 16


def test_small_libraries_have_none(tmp_path: Path) -> None:
    assert elf.pageable_ranges(debug_library(tmp_path / "lib.so")) == ()
    (tmp_path / "text").write_bytes(b"text")
    with pytest.raises(elf.ElfError):
        elf.pageable_ranges(tmp_path / "text")
