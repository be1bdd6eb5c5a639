"""The metadata diet: what may be bound, what is refused, and that damage is noticed."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf import diet as module
from layerpack.elf import tables
from layerpack.elf.binding import Binding, bind, may_bind
from layerpack.elf.diet import DietOptions, DietResult, diet
from layerpack.elf.diet_check import difference
from tests.unit.elf.cpp import complaints, cpp_library, dynamic_names
from tests.unit.elf.libraries import answer_of, debug_library, patchelf, section_names
from tests.unit.elf.test_read import mutations

KEEP = frozenset({"_ZN3own7visibleEi"})
FUNC, OBJECT, TLS, IFUNC = 2, 1, 6, 10
GLOBAL, WEAK, UNIQUE = 1, 2, 10


@pytest.fixture(scope="module", params=[pytest.param("c++", marks=pytest.mark.cxx)])
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cpp_library(tmp_path_factory.mktemp("library") / "lib.so")


def _diet(path: Path, keep: frozenset[str] = KEEP) -> tuple[Path, DietResult]:
    result = path.with_name(f"diet-{path.name}")
    done = diet(path, result, DietOptions(keep=keep))
    assert isinstance(done, DietResult), done
    return result, done


def _symbol(
    binding: int = GLOBAL, kind: int = FUNC, other: int = 0, section: int = 9
) -> tuple[int, int, int, int, int, int]:
    return (1, binding << 4 | kind, other, section, 0x1000, 8)


@pytest.mark.parametrize(
    ("name", "symbol", "bound"),
    [
        ("_ZN3own7visibleEi", _symbol(), True),
        ("_ZTVN3own5ShapeE", _symbol(WEAK, OBJECT), True),
        ("_ZN3own7visibleEi", _symbol(other=3), True),
        ("_RNvC6my_own4main", _symbol(), True),
        ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", _symbol(), True),
        ("_ZN3own7visibleEi", _symbol(other=2), False),
        ("_ZN3own7visibleEi", _symbol(other=1), False),
        ("_ZN3own7visibleEi", _symbol(section=0), False),
        ("_ZN3own7visibleEi", _symbol(section=0xFFF1), False),
        ("_ZN3own7visibleEi", _symbol(0), False),
        ("_ZN3own7visibleEi", _symbol(UNIQUE, OBJECT), False),
        ("_ZN3own7visibleEi", _symbol(kind=IFUNC), False),
        ("_ZN3own5localE", _symbol(kind=TLS), False),
        ("answer", _symbol(), False),
        ("_RTLD_version", _symbol(), False),
        # The process has one operator new.
        ("_Znwm", _symbol(), False),
        ("_ZdaPvSt11align_val_t", _symbol(WEAK), False),
        # libstdc++'s objects, under all the names that they have.
        ("_ZSt4cout", _symbol(kind=OBJECT), False),
        ("_ZNSs4_Rep20_S_empty_rep_storageE", _symbol(WEAK, OBJECT), False),
        ("_ZNSt6locale2idE", _symbol(kind=OBJECT), False),
        ("_ZTISt9exception", _symbol(WEAK, OBJECT), False),
        ("_ZTSPKc", _symbol(WEAK, OBJECT), False),
        ("_ZTIi", _symbol(WEAK, OBJECT), False),
        ("_ZTVN10__cxxabiv117__class_type_infoE", _symbol(WEAK, OBJECT), False),
        ("_ZGVNSt7collateIcE2idE", _symbol(WEAK, OBJECT), False),
        ("_ZZNSt19_Sp_make_shared_tag5_S_tiEvE5__tag", _symbol(WEAK, OBJECT), False),
        ("_ZTSSt8functionIFvN3own1XEEE", _symbol(WEAK, OBJECT), False),
        # Functions that libstdc++ may have, and instantiations that it cannot have.
        ("_ZNSt6localeC1Ev", _symbol(), False),
        ("_ZNSt6vectorIiSaIiEE9push_backERKi", _symbol(WEAK), False),
        ("_ZN9__gnu_cxx13new_allocatorIcE8allocateEmPKv", _symbol(WEAK), False),
        ("_ZNSt6vectorIN3own1XESaIS1_EE9push_backERKS1_", _symbol(WEAK), True),
        ("_ZNKSt8functionIFvPN3own1XEEEclES2_", _symbol(WEAK), True),
    ],
)
def test_what_may_be_bound(
    name: str, symbol: tuple[int, int, int, int, int, int], bound: bool
) -> None:
    assert may_bind(name.encode(), symbol) is bound


def _tables(relocations: list[tables.Rela], plt: list[tables.Rela]) -> tables.DynamicTables:
    """Tables of four functions of the library's own, symbols 1 to 4."""
    names = [b"", *(b"_ZN3own1%cEv" % letter for letter in b"abcd")]
    return tables.DynamicTables(
        dynamic=(),
        dynamic_at=0,
        symbols=[(0,) * 6, *[_symbol()] * 4],
        names=names,
        versions=None,
        strings=b"",
        first_hashed=1,
        ranges={},
        relocations=relocations,
        plt_relocations=plt,
    )


def test_relocations_decide_what_becomes_of_a_symbol() -> None:
    # 1: a word and a slot of the PLT; 2: a word and DTPMOD64; 3: a word that the PLT's table
    # has, where the loader does not expect RELATIVE; 4: a slot outside the PLT's table.
    rows = [(0, 1 << 32 | 6, 0), (8, 2 << 32 | 1, 0), (16, 2 << 32 | 16, 0), (24, 4 << 32 | 7, 0)]
    plt = [(32, 1 << 32 | 7, 0), (40, 3 << 32 | 6, 0)]
    assert bind(_tables(rows, plt), "x86_64", set()) == Binding(
        bound=frozenset({1, 4}), slots=frozenset({1, 4})
    )
    assert bind(_tables([], []), "x86_64", {b"_ZN3own1bEv"}) == Binding(
        bound=frozenset({1, 3, 4}), slots=frozenset()
    )
    # The same numbers mean nothing on another processor.
    assert bind(_tables(rows[:1], []), "aarch64", set()).bound == {2, 3, 4}


def _tables_size(path: Path) -> int:
    """Bytes of the dynamic tables that may move."""
    source = elf.read_file(path)
    read = tables.read_tables(tables.Memory(memoryview(path.read_bytes()), source.loads), source)
    return sum(part.size for part in read.ranges.values())


def test_relative_relocations_come_first_and_in_order(library: Path) -> None:
    result, _ = _diet(library)
    source = elf.read_file(result)
    read = tables.read_tables(tables.Memory(memoryview(result.read_bytes()), source.loads), source)
    count = dict(read.dynamic)[tables.DT_RELACOUNT]
    relative = [row for row in read.relocations if row[1] == 8]
    assert read.relocations[:count] == relative == sorted(relative)
    # Local symbols come first as well, and the section says how many.
    info = next(s.info for s in source.sections if s.name == ".dynsym")
    bindings = [row[1] >> 4 for row in read.symbols]
    assert not any(bindings[:info])
    assert all(bindings[info:])


def test_own_names_go_and_the_library_works(library: Path) -> None:
    result, done = _diet(library)
    assert complaints(result) == ""
    assert answer_of(result) == answer_of(library)
    before, after = dynamic_names(library), dynamic_names(result)
    assert after < before
    assert after >= KEEP
    assert {name for name in before if not name.startswith("_Z")} <= after
    # One address may have several names.
    assert done.bound >= len(before - after) > 500
    assert done.symbols == len(tables.undefined_and_defined_names(library)) + 1
    # Sizes are those of the files.
    assert done.original_bytes == library.stat().st_size
    assert done.diet_bytes == result.stat().st_size
    dropped = _tables_size(library) - _tables_size(result)
    assert abs(done.saved_bytes - dropped) < 4 * 4096
    assert section_names(result) >= {".text", ".dynsym", ".dynstr", ".gnu.hash", ".eh_frame"}


def test_names_to_keep_stay(library: Path) -> None:
    everything = tables.undefined_and_defined_names(library)
    refusal = diet(library, library.with_name("never"), DietOptions(keep=everything))
    assert refusal == elf.Refusal(reason="too few of its names can go")
    assert not library.with_name("never").exists()


def test_a_name_that_the_library_spells_out_stays(library: Path) -> None:
    result, _ = _diet(library, frozenset())
    assert "_ZN3own7throwerEi" in dynamic_names(result)
    assert "_ZN3own7visibleEi" not in dynamic_names(result)


def test_once_is_enough(library: Path) -> None:
    result, _ = _diet(library)
    again = diet(result, result.with_name("again"), DietOptions(keep=KEEP))
    assert again == elf.Refusal(reason="too few of its names can go")


def test_text_relocations_are_refused(tmp_path: Path) -> None:
    source = '__asm__(".text\\n.quad value\\n"); int value = 3;'
    path = debug_library(tmp_path / "lib.so", "-Wl,-z,notext", source=source)
    refusal = diet(path, tmp_path / "x", DietOptions())
    assert refusal == elf.Refusal(reason="it has text relocations")


def test_a_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program"
    source = "int main(void) { return 0; }"
    for options in (["-pie", "-fPIE"], ["-no-pie"], ["-static"]):
        command = ["gcc", *options, "-o", str(path), "-x", "c", "-"]
        subprocess.run(command, input=source, text=True, check=True)
        refusal = diet(path, tmp_path / "x", DietOptions())
        assert refusal == elf.Refusal(reason="it is not a shared library"), options


def test_small_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "lib.so")
    result = tmp_path / "result"
    assert diet(path, result, DietOptions()) == elf.Refusal(reason="its symbol tables are small")
    path.write_bytes(path.read_bytes() + b"archive")
    refusal = diet(path, result, DietOptions())
    assert refusal == elf.Refusal(reason="it carries data after its end, which it may read")
    path.write_bytes(b"")
    refusal = diet(path, result, DietOptions())
    assert refusal == elf.Refusal(reason="it is too short for an ELF header")
    path.write_bytes(b"text" * 100)
    assert diet(path, result, DietOptions()) == elf.Refusal(reason="it is not an ELF file")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        # Prelink's date; DT_FLAGS_1 with DF_1_PIE, which a static program has.
        (0x6FFFFDF5, 1, "its dynamic section has an entry of unknown type 0x6ffffdf5"),
        (0x6FFFFFFB, 0x08000000, "it is not a shared library"),
    ],
)
def test_unsafe_entries_of_the_dynamic_section_are_refused(
    library: Path, tmp_path: Path, tag: int, value: int, reason: str
) -> None:
    data = bytearray(library.read_bytes())
    at = data.index(struct.pack("<q", tables.DT_RELACOUNT))
    data[at : at + 16] = struct.pack("<qQ", tag, value)
    (tmp_path / "lib.so").write_bytes(data)
    refusal = diet(tmp_path / "lib.so", tmp_path / "x", DietOptions())
    assert refusal == elf.Refusal(reason=reason)


def test_a_packed_library_is_refused(library: Path, tmp_path: Path) -> None:
    data = bytearray(library.read_bytes())
    at = data.index(struct.pack("<I", 0x6474E551), 64)
    data[at : at + 4] = struct.pack("<I", 0x6C706167)
    (tmp_path / "lib.so").write_bytes(data)
    refusal = diet(tmp_path / "lib.so", tmp_path / "x", DietOptions())
    assert refusal == elf.Refusal(reason="it is packed already")


def test_patchelfs_work_is_understood(library: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(library, tmp_path / "lib.so"))
    patchelf(path, "--set-rpath", "$ORIGIN/" + "long/" * 300, "--set-soname", "libnew.so.1")
    result, _ = _diet(path)
    assert complaints(result) == ""
    assert answer_of(result) == answer_of(library)
    before, after = elf.read_file(path), elf.read_file(result)
    assert (after.soname, after.rpath, after.runpath) == (before.soname, None, before.runpath)
    assert after.needed == before.needed
    assert after.versions_needed == before.versions_needed
    patchelf(result, "--set-rpath", "$ORIGIN/" + "again/" * 300)
    assert answer_of(result) == answer_of(library)


def test_the_check_sees_every_change(library: Path) -> None:
    """Each byte that the loader reads counts: change some, one by one, of each kind."""
    result, _ = _diet(library)
    before, after = library.read_bytes(), result.read_bytes()
    keep = frozenset(name.encode() for name in KEEP)
    assert difference(memoryview(before), memoryview(after), keep) is None
    read = elf.read(after)
    at = {s.name: (s.offset, s.size) for s in read.sections}
    changes = {
        ".text": 100,
        ".rodata": 0,
        ".data.rel.ro": 8,
        ".gnu.version_r": 8,
        ".gnu.version": at[".gnu.version"][1] - 2,
        ".dynstr": at[".dynstr"][1] - 3,
        ".dynamic": 8,
        ".gnu.hash": at[".gnu.hash"][1] - 3,
    }
    places = [at[name][0] + step for name, step in changes.items()]
    # Of the last symbol: name, info, other, section, value, size.
    last = sum(at[".dynsym"]) - 24
    places += [last + step for step in (0, 4, 5, 6, 8, 16)]
    # Of the first relocation of each table: offset and addend, or symbol.
    places += [at[".rela.dyn"][0], at[".rela.dyn"][0] + 16]
    places += [at[".rela.plt"][0], at[".rela.plt"][0] + 12, at[".rela.plt"][0] + 16]
    # A nameless symbol's binding, visibility and address.
    local = at[".dynsym"][0] + 24
    places += [local + 4, local + 5, local + 8]
    for place in places:
        changed = bytearray(after)
        changed[place] ^= 0x11
        problem = difference(memoryview(before), memoryview(bytes(changed)), keep)
        assert problem is not None, hex(place)


def test_the_check_knows_the_names_to_keep(library: Path) -> None:
    result, _ = _diet(library, frozenset())
    keep = frozenset(name.encode() for name in KEEP)
    problem = difference(memoryview(library.read_bytes()), memoryview(result.read_bytes()), keep)
    assert problem == "b'_ZN3own7visibleEi' is gone"


def test_a_failed_check_writes_nothing(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "difference", lambda *_: "it is wrong")
    refusal = diet(library, tmp_path / "lib.so", DietOptions(keep=KEEP))
    assert refusal == elf.Refusal(reason="binding its references would break it: it is wrong")
    assert list(tmp_path.iterdir()) == []


def test_garbage_is_refused_or_works(library: Path, tmp_path: Path) -> None:
    path, result = tmp_path / "lib.so", tmp_path / "result.so"
    done = 0
    for changed in mutations(library.read_bytes(), 40, seed=20261125):
        path.write_bytes(changed)
        if isinstance(diet(path, result, DietOptions(keep=KEEP)), DietResult):
            done += 1
            result.unlink()
        assert list(tmp_path.iterdir()) == [path]
    assert 4 < done < 40
