"""Reading libraries, with readelf as the oracle."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest

from layerpack import elf
from tests.support.libraries import make_library, readelf
from tests.unit.elf.libraries import debug_library


def test_names_are_what_readelf_tells(tmp_path: Path) -> None:
    inner = make_library(tmp_path / "libinner.so", soname="libinner.so.1")
    path = make_library(
        tmp_path / "libouter.so", soname="libouter.so.2", needs=[inner], rpath="$ORIGIN/../x.libs"
    )
    found = elf.read_file(path)
    shown = readelf(path, "-d")
    assert found.soname == "libouter.so.2"
    assert found.needed == ("libinner.so.1",)
    assert (found.rpath, found.runpath) == (None, "$ORIGIN/../x.libs")
    assert "Library soname: [libouter.so.2]" in shown
    assert "Library runpath: [$ORIGIN/../x.libs]" in shown
    assert re.findall(r"Shared library: \[(.*)\]", shown) == list(found.needed)


def test_rpath_and_runpath_are_told_apart(tmp_path: Path) -> None:
    path = make_library(tmp_path / "libold.so", rpath="/opt/old", old_rpath=True)
    found = elf.read_file(path)
    assert (found.rpath, found.runpath) == ("/opt/old", None)


def test_needed_versions_are_what_readelf_tells(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "libdebug.so")
    found = elf.read_file(path)
    needed = {need.file: set(need.versions) for need in found.versions_needed}
    shown = readelf(path, "-V").partition("Version needs section")[2]
    assert needed.keys() == set(re.findall(r"File: (\S+)", shown))
    assert {v for versions in needed.values() for v in versions} == set(
        re.findall(r"Name: (\S+)", shown)
    )
    assert "libc.so.6" in needed


def test_defined_versions_leave_the_library_itself_out(tmp_path: Path) -> None:
    path = make_library(
        tmp_path / "libver.so",
        soname="libver.so.1",
        source="int value(void) { return 1; } int other(void) { return 2; }",
        versions="VER_1 { global: value; local: *; }; VER_2 { global: other; } VER_1;",
    )
    assert elf.read_file(path).versions_defined == ("VER_1", "VER_2")


def test_segments_are_what_readelf_tells(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "libdebug.so")
    shown = re.findall(
        r"^\s+LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+) (0x\w+) [RWE ]+ (0x\w+)",
        readelf(path, "-l"),
        re.MULTILINE,
    )
    assert shown
    assert [tuple(int(word, 16) for word in row) for row in shown] == [
        (load.offset, load.vaddr, load.filesz, load.memsz, load.align)
        for load in elf.read_file(path).loads
    ]


def test_sections_do_not_matter(tmp_path: Path) -> None:
    data = bytearray(debug_library(tmp_path / "libdebug.so").read_bytes())
    before = elf.read(bytes(data))
    start = before.section_headers
    data[start:] = b"\xff" * (len(data) - start)
    after = elf.read(bytes(data))
    assert (after.needed, after.segments, after.versions_needed) == (
        before.needed,
        before.segments,
        before.versions_needed,
    )
    del data[start:]
    assert elf.read(bytes(data)).sections == ()
    assert elf.read(bytes(data)).needed == before.needed


def test_a_text_relocation_is_seen(tmp_path: Path) -> None:
    plain = make_library(tmp_path / "libplain.so")
    assert not elf.read_file(plain).has_text_relocations
    path = tmp_path / "libtext.so"
    source = 'int value(void) { return 1; }\n__asm__(".text\\n.quad value\\n");'
    debug_library(path, "-nostdlib", "-Wl,-z,notext", source=source)
    assert "TEXTREL" in readelf(path, "-d")
    assert elf.read_file(path).has_text_relocations


def test_the_other_architecture_is_read(tmp_path: Path) -> None:
    data = bytearray(make_library(tmp_path / "lib.so").read_bytes())
    data[18:20] = struct.pack("<H", 183)
    assert elf.read(bytes(data)).machine == "aarch64"
    assert elf.read(bytes(data)).kind == "ET_DYN"


def _edited(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"MZ", "not an ELF file"),
        (4, b"\x01", "not a 64-bit file"),
        (5, b"\x02", "not little-endian"),
        (16, b"\x01", "neither a shared library nor an executable"),
        (18, b"\x28", "machine 40"),
        (32, struct.pack("<Q", 1 << 40), "program headers lie outside"),
        (54, struct.pack("<H", 40), "program headers have an unknown size"),
        (56, struct.pack("<H", 0), "program headers have an unknown size or number"),
        (64 + 8, struct.pack("<Q", 1 << 62), "a segment lies outside the file"),
        (64 + 16, struct.pack("<Q", 1), "do not agree with its alignment"),
        (64 + 32, struct.pack("<QQ", 64, 32), "larger in the file than in memory"),
        (64 + 40, struct.pack("<Q", 1 << 62), "overlap or are out of order"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, at: int, value: bytes, reason: str) -> None:
    path = debug_library(tmp_path / "lib.so")
    assert elf.read_file(path).segments[0].type == 1, "the edits expect a PT_LOAD first"
    with pytest.raises(elf.ElfError, match=reason):
        elf.read(_edited(path.read_bytes(), at, value))


def test_short_files_are_refused(tmp_path: Path) -> None:
    data = make_library(tmp_path / "lib.so").read_bytes()
    for size in (0, 4, 63, 64, 200):
        (tmp_path / "short").write_bytes(data[:size])
        with pytest.raises(elf.ElfError):
            elf.read_file(tmp_path / "short")


def test_is_elf(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not elf.is_elf(script)
    assert elf.is_elf(make_library(tmp_path / "lib.so"))


def mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    """Versions of a file with a few fields changed, mostly in what headers and tables say."""
    generator = random.Random(seed)
    interesting = [
        0,
        1,
        7,
        8,
        0x7F,
        0xFF,
        0x1000,
        0xFFFF,
        1 << 31,
        (1 << 32) - 1,
        1 << 62,
        2**64 - 1,
    ]
    results = []
    dynamic = next(s for s in elf.read(data).segments if s.type == 2)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            start = generator.choice([0, 64, dynamic.offset, generator.randrange(len(data))])
            at = min(start + 4 * generator.randrange(60), len(data) - 8)
            size = generator.choice([1, 2, 4, 8])
            value = generator.choice([*interesting, generator.getrandbits(64)])
            changed[at : at + size] = value.to_bytes(8, "little")[:size]
        results.append(bytes(changed[: generator.choice([len(data)] * 4 + [at])]))
    return results


def test_garbage_never_does_more_than_raise(tmp_path: Path) -> None:
    data = debug_library(tmp_path / "lib.so").read_bytes()
    outcomes = {True: 0, False: 0}
    for changed in mutations(data, 3000, seed=20261101):
        try:
            elf.read(changed)
        except elf.ElfError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
    # Both happen often, or the mutations would not be worth much.
    assert min(outcomes.values()) > 300, outcomes
