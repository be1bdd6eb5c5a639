"""Dynamic tables and their hashes, against nm and the linker's own."""

from __future__ import annotations

import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from layerpack.elf import hashing, tables
from layerpack.elf.format import ElfError
from layerpack.elf.new_tables import share_suffixes
from layerpack.elf.read import read_file
from tests.unit.elf.cpp import cpp_library
from tests.unit.elf.libraries import debug_library
from tests.unit.elf.test_read import mutations


def _read(path: Path) -> tuple[tables.Memory, tables.DynamicTables]:
    source = read_file(path)
    memory = tables.Memory(memoryview(path.read_bytes()), source.loads)
    return memory, tables.read_tables(memory, source)


def _nm(path: Path) -> set[str]:
    command = ["nm", "-D", "--without-symbol-versions", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in text.splitlines()}


@pytest.mark.cxx
@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_names_are_those_that_nm_tells(tmp_path: Path, style: str) -> None:
    path = cpp_library(tmp_path / "lib.so", f"-Wl,--hash-style={style}", names=9)
    names = tables.undefined_and_defined_names(path)
    assert names == _nm(path)
    assert {"answer", "_ZN3own7visibleEi", "__cxa_throw"} <= names
    _, read = _read(path)
    assert {name.decode() for name in read.names} - {""} == names


def test_a_name_that_is_spelled_out_counts(tmp_path: Path) -> None:
    source = 'const char *name(void) { return "_ZN3own7visibleEi"; }'
    path = debug_library(tmp_path / "lib.so", source=source)
    assert "_ZN3own7visibleEi" in tables.undefined_and_defined_names(path)
    assert "_ZN3own7visibleEi" not in _nm(path)


def test_a_library_without_exports_still_tells_its_imports(tmp_path: Path) -> None:
    source = "extern int other(void); static int own(void) { return other(); } void *p = own;"
    path = debug_library(tmp_path / "lib.so", "-fvisibility=hidden", source=source)
    assert "other" in tables.undefined_and_defined_names(path)


def test_names_that_only_relocations_tell_of_are_found(tmp_path: Path) -> None:
    # No start files: they define symbols, and a table that defines none has no hashes.
    source = (
        'extern int other(void); int (*used)(void) __attribute__((visibility("hidden"))) = other;'
    )
    path = debug_library(tmp_path / "lib.so", "-nostartfiles", "-nostdlib", source=source)
    assert "other" in _nm(path)
    assert "other" in tables.undefined_and_defined_names(path)


def test_what_is_no_library_tells_no_names(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for content in (b"", b"\x7fELF", b"text" * 100):
        path.write_bytes(content)
        with pytest.raises(ElfError):
            tables.undefined_and_defined_names(path)


def test_garbage_never_surprises(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "lib.so", "-Wl,--hash-style=both")
    read = named = 0
    for index, changed in enumerate(mutations(path.read_bytes(), 400, seed=20261124)):
        mutant = tmp_path / f"{index}.so"
        mutant.write_bytes(changed)
        with suppress(ElfError):
            tables.undefined_and_defined_names(mutant)
            named += 1
        with suppress(ElfError):
            _read(mutant)
            read += 1
    assert 50 < read <= named < 400


def test_hashes_are_those_of_the_specifications() -> None:
    # Values that descriptions of the two formats give.
    assert hashing.gnu_hash(b"") == 5381
    assert hashing.gnu_hash(b"printf") == 0x156B2BB8
    assert hashing.gnu_hash(b"syscall") == 0xBAC212A0
    assert hashing.sysv_hash(b"") == 0
    assert hashing.sysv_hash(b"printf") == 0x077905A6
    assert hashing.sysv_hash(b"jdisuejdk" * 9) < 1 << 28


@pytest.mark.cxx
def test_the_linkers_hash_table_has_our_chains(tmp_path: Path) -> None:
    """Buckets and hashes of a table that ld wrote, from the same symbols in the same order."""
    path = cpp_library(tmp_path / "lib.so", "-Wl,--hash-style=both", names=30)
    memory, read = _read(path)
    part = read.ranges[tables.DT_GNU_HASH]
    written = bytes(memory.at(part.start, part.size))
    buckets, first, words, _ = struct.unpack_from("<IIII", written)
    hashes = [hashing.gnu_hash(name) for name in read.names[first:]]
    assert buckets == hashing.bucket_count(len(hashes))
    ours = hashing.gnu_hash_table(hashes, first)
    our_words = struct.unpack_from("<I", ours, 8)[0]
    assert ours[16 + 8 * our_words :] == written[16 + 8 * words :]
    part = read.ranges[tables.DT_HASH]
    assert part.size == 8 + 4 * (struct.unpack("<I", memory.at(part.start, 4))[0] + len(read.names))


def test_an_empty_hash_table_finds_nothing() -> None:
    assert struct.unpack("<IIIIQI", hashing.gnu_hash_table([], 7)) == (1, 7, 1, 0, 0, 0)


def test_names_that_end_others_lie_within_them() -> None:
    names = [b"", b"symbol", b"bol", b"ol", b"other_bol", b"x", b"symbolx"]
    table, offsets = share_suffixes(names)
    assert table[0] == table[-1] == 0
    for name in names:
        assert table[offsets[name] :].split(b"\0", 1)[0] == name
    assert len(table) == len(b"\0symbol\0other_bol\0symbolx\0")
