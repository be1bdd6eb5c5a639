"""Packing: the loader takes the result, which says what it needs, and refusals have reasons."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.hot import mapped
from layerpack.elf.index import PAGE
from layerpack.elf.rebuild import verify
from tests.support.code import compiled, many_functions
from tests.support.libraries import readelf
from tests.unit.elf.libraries import debug_library, patchelf
from tests.unit.elf.pageable import complaints, pageable_library, source, stub_pager

FAST = elf.PackOptions(level=3)
OLD = "-Wl,-z,noseparate-code"
_LOAD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1], mode=2)
print(list((ctypes.c_int * 8).in_dll(library, "table")))
print((ctypes.c_char * 23).in_dll(library, "text").value.decode())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pageable_library(tmp_path_factory.mktemp("library") / "libpaged.so")


def packed(path: Path, options: elf.PackOptions = FAST) -> tuple[Path, elf.PackResult]:
    """The packed library, in a folder beside it."""
    destination = path.with_name("packed") / path.name
    result = elf.pack(path, destination, options)
    assert isinstance(result, elf.PackResult), result
    return destination, result


def refused(path: Path, options: elf.PackOptions = FAST) -> str:
    """Why a library is refused; nothing was written."""
    destination = path.with_name("refused") / path.name
    result = elf.pack(path, destination, options)
    assert isinstance(result, elf.Refusal), result
    assert not destination.parent.exists() or not list(destination.parent.iterdir())
    return result.reason


def load(path: Path, folder: Path) -> str:
    """Load a library with a pager that does nothing, and read its data."""
    stub_pager(folder)
    run = subprocess.run(
        [sys.executable, "-I", "-c", _LOAD, str(path)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "LD_BIND_NOW": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def index_of(path: Path) -> elf.Index:
    segment = next(s for s in elf.read_file(path).segments if s.type == 0x6C706167)
    return elf.read_index(path.read_bytes()[segment.offset :])


@pytest.mark.parametrize(
    "options",
    [
        (),
        (OLD,),
        ("-Wl,-z,max-page-size=65536",),
        ("-Wl,-z,max-page-size=0x200000", OLD),
        ("-Wl,-z,now", "-Wl,-z,relro"),
        ("-Wl,--hash-style=sysv",),
        ("-fuse-ld=gold",),
    ],
)
def test_the_loader_takes_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = pageable_library(tmp_path / "lib.so", *options)
    result, record = packed(path)
    assert verify(path, result) is None
    assert complaints(result) == ""
    expected = "[1, 2, 3, 4, 5, 6, 7, 8]\nwhat is read only stays\n"
    assert load(result, tmp_path / "pager") == load(path, tmp_path / "pager") == expected
    assert record.packed_bytes == result.stat().st_size
    assert record.original_bytes == path.stat().st_size
    assert record.paged_bytes == record.pages * PAGE
    assert record.compressed_bytes < record.paged_bytes / 2
    assert record.mapped_bytes + record.compressed_bytes < record.packed_bytes
    assert record.packed_bytes < record.original_bytes / 2


def test_what_patchelf_moved_is_packed_too(tmp_path: Path) -> None:
    path = pageable_library(tmp_path / "lib.so")
    patchelf(path, "--set-rpath", "$ORIGIN/" + "long/" * 2000)
    result, _ = packed(path)
    assert elf.read_file(result).runpath == "$ORIGIN/" + "long/" * 2000
    load(result, tmp_path / "pager")


def test_it_needs_the_pager_last_and_is_never_unloaded(library: Path) -> None:
    result, record = packed(library)
    before, after = elf.read_file(library), elf.read_file(result)
    assert after.needed == (*before.needed, "liblayerpack_pager.so.1")
    assert (after.soname, after.rpath, after.runpath) == (before.soname, None, None)
    assert after.versions_needed == before.versions_needed
    assert after.sections == ()
    assert "NODELETE" in readelf(result, "-d")
    assert sorted(record.renamed_imports) == ["sigaction", "signal"]


def test_imports_of_signals_are_the_pagers(tmp_path: Path) -> None:
    """The loader says so: with LD_DEBUG it tells which library it binds a name to."""
    path = pageable_library(tmp_path / "lib.so")
    result, _ = packed(path)
    stub_pager(tmp_path / "pager")
    run = subprocess.run(
        [sys.executable, "-I", "-c", _LOAD, str(result)],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(tmp_path / "pager"),
            "LD_BIND_NOW": "1",
            "LD_DEBUG": "bindings",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    bound = [line for line in run.stderr.splitlines() if f"file {result} " in line]
    for name in ("signal", "sigaction"):
        (line,) = (line for line in bound if f"`layerpack_{name}'" in line)
        assert "liblayerpack_pager.so.1 [0]" in line
        assert not any(f"`{name}'" in line for line in bound)


@pytest.mark.parametrize(
    ("tag", "before", "inherits", "after"),
    [
        ("--enable-new-dtags", "$ORIGIN/x", True, (None, "$ORIGIN/x:$ORIGIN/../lib")),
        ("--disable-new-dtags", "$ORIGIN/x", False, ("$ORIGIN/x:$ORIGIN/../lib", None)),
        ("", "", False, (None, "$ORIGIN/../lib")),
        ("", "", True, ("$ORIGIN/../lib", None)),
    ],
)
def test_the_pagers_folder_joins_the_search_path(
    tmp_path: Path, tag: str, before: str, inherits: bool, after: tuple[str | None, str | None]
) -> None:
    linked = [f"-Wl,{tag},-rpath,{before}"] if tag else []
    path = pageable_library(tmp_path / "lib.so", *linked)
    options = elf.PackOptions(level=3, pager_runpath="../lib", inherits_rpath=inherits)
    result, _ = packed(path, options)
    found = elf.read_file(result)
    assert (found.rpath, found.runpath) == after
    # The pager is found there, with no setting of the environment's.
    stub_pager(tmp_path / "lib")
    command = [sys.executable, "-I", "-c", _LOAD, str(result)]
    subprocess.run(command, capture_output=True, check=True)


def test_an_alignment_beyond_a_page_is_kept(tmp_path: Path) -> None:
    source = "__attribute__((aligned(65536))) char wide[65536] = {1};\n" + many_functions()
    path = compiled(tmp_path / "wide.so", source)
    result, _ = packed(path)
    stub_pager(tmp_path / "pager")
    code = "import ctypes, sys; print(ctypes.addressof(ctypes.c_char.in_dll(%s, 'wide')) %% 65536)"
    # glibc 2.35 and later keep it; here plain and packed must be alike.
    found = [
        subprocess.run(
            [sys.executable, "-I", "-c", code % "ctypes.CDLL(sys.argv[1])", one],
            env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "pager")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for one in (path, result)
    ]
    assert found == ["0\n", "0\n"]


def test_the_same_bytes_come_out(library: Path, tmp_path: Path) -> None:
    results = []
    for number, threads in enumerate((1, 4, 4)):
        destination = tmp_path / str(number) / "lib.so"
        options = elf.PackOptions(level=3, threads=threads)
        assert isinstance(elf.pack(library, destination, options), elf.PackResult)
        results.append(destination.read_bytes())
    assert results[0] == results[1] == results[2]


def test_hot_pages_lie_together_in_front(library: Path) -> None:
    ranges = elf.pageable_ranges(library)
    code = ranges[0].pages
    hot = (5, code, 3, 4, code - 1)
    result, record = packed(library, elf.PackOptions(level=3, window_size=4 * PAGE, hot=hot))
    assert record.hot_pages == 5
    index = index_of(result)
    assert index.ranges == ranges
    first, second = index.windows[:2]
    # By address. The fourth ends the first window; a run does not cross from code to unwinding.
    assert [(run.page, run.pages) for run in first.runs] == [(3, 3), (code - 1, 1)]
    assert [(run.page, run.pages) for run in second.runs] == [(code, 1)]
    assert (first.offset, second.offset) == (0, first.size)
    cold = index.windows[2:]
    assert cold[0].runs[0].page == 0
    assert {window.raw for window in cold} >= {4 * PAGE}
    pages = [
        p for w in index.windows for run in w.runs for p in range(run.page, run.page + run.pages)
    ]
    assert sorted(pages) == list(range(record.pages))


def test_a_page_between_two_hot_ones_goes_with_them(library: Path) -> None:
    options = elf.PackOptions(level=3, window_size=8 * PAGE, hot=(7, 3, 5))
    result, record = packed(library, options)
    assert record.hot_pages == 3
    runs = index_of(result).windows[0].runs
    assert [(run.page, run.pages) for run in runs] == [(3, 5)]


def test_hot_pages_that_are_mapped_are_in_no_range(library: Path) -> None:
    ranges = elf.pageable_ranges(library)
    code = ranges[0].pages
    hot = (5, code + 1, 3, code - 1)
    result, record = packed(library, elf.PackOptions(level=3, hot=hot, mapped=True))
    assert verify(library, result) is None
    # 3 to 5, the last one of the code, and one of those that unwind it.
    assert record.pages == sum(one.pages for one in ranges) - 5
    absent = {page for one in index_of(result).ranges for page in range(one.vaddr, one.end, PAGE)}
    every = [page for one in ranges for page in range(one.vaddr, one.end, PAGE)]
    gone = [number for number, page in enumerate(every) if page not in absent]
    assert gone == [3, 4, 5, code - 1, code + 1]


def test_hot_pages_beyond_what_segments_suffice_for_are_compressed() -> None:
    ranges = (elf.Range(vaddr=0x1000, pages=9000, flags=5),)
    hot = (*range(8990, 8980, -1), *range(0, 8000, 10))
    left, other = mapped(ranges, hot)
    # The first page is one of those that are gone.
    assert len(left) == 256
    # The longest runs first.
    assert left[-1].vaddr == 0x1000 + 8991 * PAGE
    assert len(other) == 800 - 255
    assert sum(one.pages for one in left) == 9000 - 10 - 255
    # The same pages, by their numbers in what is left.
    places = [one.vaddr + n * PAGE for one in left for n in range(one.pages)]
    assert all((places[number] // PAGE - 1) % 10 == 0 for number in other)


def test_page_numbers_do_not_depend_on_options(library: Path) -> None:
    expected = elf.pageable_ranges(library)
    for options in (FAST, elf.PackOptions(level=1, window_size=PAGE, hot=(7,))):
        assert index_of(packed(library, options)[0]).ranges == expected


def test_given_ranges_are_clipped(library: Path) -> None:
    """As for a library whose sections are gone: what must stay does, whatever is asked."""
    chosen = elf.pageable_ranges(library)
    asked = (elf.Range(vaddr=0, pages=chosen[0].vaddr // PAGE + 16, flags=5),)
    result, record = packed(library, elf.PackOptions(level=3, ranges=asked))
    (found,) = index_of(result).ranges
    assert found.end == chosen[0].vaddr + 16 * PAGE
    assert record.pages >= 16
    assert verify(library, result) is None


def test_equal_windows_are_stored_once(tmp_path: Path) -> None:
    space = '__asm__(".text\\n.space 1000000\\n");'
    path = debug_library(tmp_path / "lib.so", "-g0", source=source(100) + space)
    result, record = packed(path, elf.PackOptions(level=3, window_size=PAGE))
    windows = index_of(result).windows
    assert len({window.offset for window in windows}) < len(windows) / 10
    assert record.compressed_bytes < 60_000


def test_it_can_replace_its_source(tmp_path: Path) -> None:
    path = pageable_library(tmp_path / "lib.so")
    before = path.read_bytes()
    result = elf.pack(path, path, FAST)
    assert isinstance(result, elf.PackResult)
    assert path.stat().st_size == result.packed_bytes < len(before)
    assert refused(path) == "it is packed already"


def test_refusals_name_the_reason(tmp_path: Path) -> None:
    program = tmp_path / "program"
    main = source() + "\nint main(void) { return 0; }"
    for options in (["-pie", "-fPIE"], ["-no-pie"], ["-static"], ["-static-pie", "-fPIE"]):
        command = ["gcc", *options, "-o", str(program), "-x", "c", "-"]
        subprocess.run(command, input=main, text=True, check=True)
        assert refused(program) in ("it is a program", "it has no dynamic section")
    text = source() + '\n__asm__(".text\\n.quad install\\n");'
    path = debug_library(tmp_path / "libtext.so", "-Wl,-z,notext", source=text)
    assert refused(path) == "it has text relocations"
    path = pageable_library(tmp_path / "libfirst.so", "-Wl,-z,initfirst")
    assert refused(path) == "it is initialised before the pager can be"
    path = pageable_library(tmp_path / "libpager.so", "-Wl,-soname,liblayerpack_pager.so.1")
    assert refused(path) == "it is the pager"
    path = debug_library(tmp_path / "libsmall.so")
    assert refused(path) == "it has only 0 pages that can be paged"
    data = pageable_library(tmp_path / "lib.so").read_bytes()
    for name, content, reason in (
        ("empty", b"", "it is too short for an ELF header"),
        ("text", b"text" * 100, "it is not an ELF file"),
        ("appended", data + b"PK", "it carries data after its end, which it may read"),
        ("big", data[:5] + b"\x02" + data[6:], "it is not little-endian"),
        (
            "riscv",
            data[:18] + struct.pack("<H", 243) + data[20:],
            "it is for machine 243, neither x86_64 nor aarch64",
        ),
        ("cut", data[: len(data) // 4], "a segment lies outside the file"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert refused(path) == reason


def test_ifunc_code_stays_and_the_rest_is_judged_by_it(tmp_path: Path) -> None:
    extra = """
    static int fast(void) { return 1; }
    static int (*choose(void))(void) { return fast; }
    int chosen(void) __attribute__((ifunc("choose")));
    """
    path = debug_library(tmp_path / "few.so", "-g0", source=source(100) + extra)
    assert refused(path).endswith("pages that can be paged, as its code runs before the pager does")
    path = debug_library(tmp_path / "many.so", "-g0", source=source(4000) + extra)
    result = elf.pack(path, tmp_path / "packed.so", FAST)
    if isinstance(result, elf.PackResult):
        assert {one.flags for one in index_of(tmp_path / "packed.so").ranges} == {4}
    else:
        assert result.reason == "it would hardly become smaller"


def test_what_does_not_compress_is_not_worth_it(tmp_path: Path) -> None:
    noise = tmp_path / "noise.bin"
    noise.write_bytes(os.urandom(2_000_000))
    include = f'__asm__(".text\\n.incbin \\"{noise}\\"\\n");'
    path = debug_library(tmp_path / "lib.so", "-g0", source=source(100) + include)
    assert refused(path) == "it would hardly become smaller"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (elf.PackOptions(window_size=5000), "5000 bytes"),
        (elf.PackOptions(window_size=0), "0 bytes"),
        (elf.PackOptions(hot=(1, 1)), "hot twice"),
        (elf.PackOptions(hot=(1 << 20,)), "not among"),
    ],
)
def test_options_that_make_no_sense(library: Path, options: elf.PackOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elf.pack(library, library.with_name("never"), options)
    assert not library.with_name("never").exists()


def test_a_wrong_result_is_not_written(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter spoils one byte: the check must see it, and the destination stay."""
    from layerpack.elf import filter as branches
    from layerpack.elf import windows

    def spoil(data: bytes, vaddr: int, kind: int, bits: int) -> bytes:
        return branches.encode(data, vaddr, kind, bits)[:-1] + b"\xcc"

    monkeypatch.setattr(windows, "encode", spoil)
    destination = tmp_path / "lib.so"
    destination.write_bytes(b"before")
    result = elf.pack(library, destination, FAST)
    assert isinstance(result, elf.Refusal)
    assert result.reason.startswith("it would not be the same: ")
    assert destination.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [destination]
