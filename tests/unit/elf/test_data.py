"""Read-only data that is packed: which, and what is read back of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf import format as form
from layerpack.elf.copied import copied_names, defines_any
from layerpack.elf.data import data_gain, data_ranges
from layerpack.elf.dynamic import read_dynamic
from layerpack.elf.index import PAGE
from layerpack.elf.read import map_file, read
from layerpack.elf.rebuild import verify
from tests.support.code import compiled, many_functions
from tests.support.compilers import compile_source
from tests.support.data import noise

DATA = elf.PackOptions(level=3, data=True)
SOURCE = f"{many_functions()}{noise()}const void *data(void) {{ return noise; }}\n"
RESOLVER = """
static int one(void) { return 1; }
static int (*choose(void))(void) { return one; }
int chosen(void) __attribute__((ifunc("choose")));
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library") / "lib.so", SOURCE)


@pytest.fixture(scope="module")
def packed(library: Path) -> Path:
    destination = library.with_name("packed.so")
    result = elf.pack(library, destination, DATA)
    assert isinstance(result, elf.PackResult) and result.data_problem == ""
    assert 590_000 < result.data_bytes < 640_000
    code = elf.pack(library, library.with_name("code.so"), elf.PackOptions(level=3))
    assert isinstance(code, elf.PackResult) and code.data_bytes == 0
    assert (code.pages, code.paged_bytes) == (result.pages, result.paged_bytes)
    saved = code.packed_bytes - result.packed_bytes
    assert saved > 500_000 and abs(data_gain(library) - saved) < 50_000
    assert code.mapped_bytes - result.mapped_bytes == result.data_bytes
    return destination


def index_of(path: Path) -> elf.Index:
    segment = next(s for s in elf.read_file(path).segments if s.type == form.PT_LAYERPACK)
    return elf.read_index(path.read_bytes()[segment.offset :])


def test_only_data_goes(library: Path, packed: Path) -> None:
    sections = {one.name: one for one in elf.read_file(library).sections}
    index = index_of(packed)
    home = sections[".rodata"]
    for block in index.blocks:
        assert (
            home.addr <= block.vaddr and block.vaddr + block.pages * PAGE <= home.addr + home.size
        )
        assert block.flags == form.PF_R
    assert verify(library, packed) is None


@pytest.mark.exhaustive
def test_blocks_one_after_the_other_are_one_hole(packed: Path, tmp_path: Path) -> None:
    source = SOURCE.replace(noise(), noise(2500))
    library = compiled(tmp_path / "lib.so", source)
    assert isinstance(elf.pack(library, tmp_path / "packed.so", DATA), elf.PackResult)
    assert len(index_of(tmp_path / "packed.so").blocks) == 3
    many, few = elf.read_file(tmp_path / "packed.so"), elf.read_file(packed)
    assert len(many.loads) == len(few.loads)


def test_data_in_the_segment_of_code_keeps_its_rights(tmp_path: Path) -> None:
    library = compiled(tmp_path / "lib.so", SOURCE, "-Wl,-z,noseparate-code")
    assert isinstance(elf.pack(library, tmp_path / "packed.so", DATA), elf.PackResult)
    blocks = index_of(tmp_path / "packed.so").blocks
    assert blocks and {one.flags for one in blocks} == {form.PF_R | form.PF_X}


def test_pages_are_numbered_as_without_data(library: Path, packed: Path) -> None:
    assert index_of(packed).ranges == index_of(library.with_name("code.so")).ranges


def test_a_byte_of_each_part_counts(library: Path, packed: Path, tmp_path: Path) -> None:
    """Of the starter, and of what it replaces."""
    data = packed.read_bytes()
    parts = read(data)
    copy = tmp_path / "copy.so"
    (start,) = (one for one in parts.loads if one.vaddr == index_of(packed).starter)
    for at in range(start.offset, start.offset + start.filesz):
        changed = bytearray(data)
        changed[at] ^= 1
        copy.write_bytes(changed)
        problem = verify(library, copy)
        assert problem is not None and "starter" in problem, at - start.offset
    dynamic = next(one for one in parts.segments if one.type == form.PT_DYNAMIC)
    rows = range(dynamic.offset, dynamic.offset + dynamic.filesz, 16)
    at = next(at for at in rows if data[at : at + 8] == (12).to_bytes(8, "little"))
    changed = bytearray(data)
    changed[at + 8] ^= 16
    copy.write_bytes(changed)
    assert verify(library, copy) == "its starter has no segment of its own"


def test_a_block_of_other_data_is_seen(library: Path, packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    block = index_of(packed).blocks[0]
    frames = index_of(packed).frames
    load = next(one for one in read(bytes(data)).loads if one.holds(frames))
    data[load.offset + frames - load.vaddr + block.offset + block.size // 2] ^= 1
    copy = tmp_path / "copy.so"
    copy.write_bytes(data)
    assert verify(library, copy) is not None


@pytest.mark.parametrize("why", ["resolver", "no sections"])
def test_data_that_must_stay(tmp_path: Path, why: str) -> None:
    source = SOURCE + (RESOLVER if why == "resolver" else "")
    library = compiled(tmp_path / "lib.so", source)
    if why == "no sections":
        data = bytearray(library.read_bytes())
        end = max(one.offset + one.filesz for one in read(bytes(data)).segments)
        # e_shoff, e_shnum and e_shstrndx.
        data[40:48], data[60:64] = bytes(8), bytes(4)
        library.write_bytes(data[:end])
    view = map_file(library)
    source_object = read(view)
    assert data_ranges(view, source_object, read_dynamic(view, source_object)) == ()
    assert data_gain(library) == 0
    if why == "no sections":
        result = elf.pack(library, tmp_path / "packed.so", DATA)
        assert isinstance(result, elf.PackResult)
        assert result.data_problem == "it has no sections, which alone tell data from tables"
        assert result.data_bytes == 0 and index_of(tmp_path / "packed.so").starter == 0


def test_what_a_program_copies_before_anything_runs(tmp_path: Path) -> None:
    library = compiled(tmp_path / "libnamed.so", 'const char named[5000] = "x"; int other = 1;')
    source = "extern const char named[5000]; int main(void) { return named[4000]; }"
    program = compile_source(
        tmp_path / "program",
        ["gcc", "-no-pie", "-fno-pic"],
        source,
        f"-L{tmp_path}",
        "-lnamed",
    )
    assert copied_names(program) == {b"named"}
    assert copied_names(library) == frozenset()
    assert defines_any(library, frozenset({b"named", b"nobody"}))
    assert not defines_any(library, frozenset({b"nobody", b"printf"}))
    plain = compile_source(tmp_path / "plain", ["gcc"], "int main(void) { return 0; }")
    assert copied_names(plain) == frozenset()
    static = compile_source(tmp_path / "static", ["gcc", "-static"], "int main(void) { return 0; }")
    assert copied_names(static) == frozenset()
