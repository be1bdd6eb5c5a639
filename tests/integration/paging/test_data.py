"""Read-only data that is stored compressed: it is there before any code of its library runs."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from layerpack.elf import (
    PackOptions,
    PackResult,
    pack,
    pageable_ranges,
    read_file,
    read_index,
)
from layerpack.elf.format import PT_LAYERPACK
from layerpack.elf.index import pages_of
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.elf.read import read
from tests.support.compilers import compile_source, compiler_for
from tests.support.data import noise
from tests.support.twins import Run, Twins, compile_c, filler, pack_twin, run, run_python

DATA: Final = PackOptions(level=3, data=True)
LIBRARY: Final = f"\n{noise()}{Path(__file__).with_name('data.c').read_text()}"
LOAD: Final = """
import ctypes, os, sys
paths = sys.argv[1].split(":")
libraries = [ctypes.CDLL(path, mode=os.RTLD_GLOBAL) for path in paths]
library = libraries[-1]
library.sum.restype = ctypes.c_uint64
library.data.restype = ctypes.c_void_p
def results(): return [library.result(number) for number in range(5)]
"""
ASK: Final = f"{LOAD}print(results(), library.sum(), library.again(), library.call(7, 3))"
RIGHTS: Final = """
def rights(address):
    for line in open("/proc/self/maps"):
        start, end = (int(one, 16) for one in line.split()[0].split("-"))
        if start <= address < end: return line.split()[1]
"""


def library(folder: Path, *options: str) -> Twins:
    """A library whose constructor hands data to the kernel, and the same with its data packed."""
    original = compile_c(folder / "original/libtwin.so", filler(150) + LIBRARY, *options)
    return pack_twin(original, folder / "packed", DATA)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return library(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def other(pair: Twins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed library without data, that brings the pager."""
    original = compile_c(tmp_path_factory.mktemp("other") / "libother.so", filler(150, seed=2))
    result = pack(original, pair.packed.with_name("libother.so"), PackOptions(level=3))
    assert isinstance(result, PackResult)
    return pair.packed.with_name("libother.so")


def data_bytes(packed: Path) -> int:
    """Bytes of data that are stored compressed."""
    segment = next(s for s in read_file(packed).segments if s.type == PT_LAYERPACK)
    index = read_index(packed.read_bytes()[segment.offset :])
    return sum(one.pages for one in index.blocks) * 4096


def same(pair: Twins, code: str = ASK, before: Path | None = None) -> Run:
    """What both print, the packed one perhaps loaded after another packed library."""
    expected = run_python(code, pair.original)
    assert expected.code == 0
    first = f"{before}:" if before else ""
    assert run("python3", "-c", code, f"{first}{pair.packed}", library=pair.packed) == expected
    return expected


@pytest.mark.parametrize("late", [False, True], ids=["with the pager", "after the pager"])
def test_a_constructor_may_hand_data_to_the_kernel(pair: Twins, other: Path, late: bool) -> None:
    expected = same(pair, before=other if late else None)
    assert expected.out.count("from a constructor\n") == 4
    assert "[0, 0, 0, 0, 0]" in expected.out
    assert data_bytes(pair.packed) > 600_000


@pytest.mark.parametrize(
    "options",
    [
        ("-Wl,-z,noseparate-code",),
        ("-Wl,-z,max-page-size=65536",),
        ("-Wl,-z,now", "-Wl,-z,relro"),
        ("-fuse-ld=gold",),
        ("-nostartfiles",),
    ],
    ids=lambda options: options[-1].removeprefix("-Wl,-z,"),
)
def test_layouts(tmp_path: Path, options: tuple[str, ...], other: Path) -> None:
    pair = library(tmp_path, *options)
    same(pair)
    same(pair, before=other)
    assert data_bytes(pair.packed) > 600_000


def test_the_layout_of_lld(tmp_path: Path, other: Path) -> None:
    """Data first, in the segment of the tables; and no DT_INIT, as no C library is linked."""
    original = tmp_path / "original/libtwin.so"
    command = [*compiler_for("x86_64 zig"), "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE"]
    compile_source(original, command, filler(150) + LIBRARY, "-Wl,-z,undefs")
    pair = pack_twin(original, tmp_path / "packed", DATA)
    same(pair)
    same(pair, before=other)
    assert data_bytes(pair.packed) > 600_000


def test_data_can_be_read_and_nothing_else(pair: Twins, other: Path) -> None:
    code = f"{LOAD}{RIGHTS}print(rights(library.data() + 8192), flush=True)\n"
    expected = run_python(code, pair.original).out
    assert expected.endswith("r--p\n")
    done = run("python3", "-c", code, f"{other}:{pair.packed}", library=pair.packed)
    assert done.out == expected
    code += "ctypes.memset(library.data() + 8192, 0, 1)"
    for path in (pair.original, pair.packed):
        crashed = run_python(code, path)
        assert (crashed.code, crashed.out) == (-signal.SIGSEGV, expected)
    code = code.replace("memset", "CFUNCTYPE(None)(library.data() + 8192)() #")
    for path in (pair.original, pair.packed):
        assert run_python(code, path).code == -signal.SIGSEGV


HOOK: Final = """
int hook(void) { f75(4); use_them(); return results[2] | results[3] | results[4]; }
const char named[70000] = "/dev/null";
"""
CALLS_BACK: Final = """
extern int hook(void) __attribute__((weak));
static int seen = -1;
__attribute__((constructor)) static void start(void) { if (hook) seen = hook(); }
int what_was_seen(void) { return seen; }
"""
READS: Final = """
extern const char named[70000] __attribute__((weak));
static int seen = -1;
__attribute__((constructor)) static void start(void)
{ if (named) seen = ((volatile const char *)named)[40000]; }
int what_was_seen(void) { return seen; }
"""


@pytest.mark.parametrize("needed", [CALLS_BACK, READS], ids=["calls back", "reads"])
def test_a_needed_librarys_constructor(tmp_path: Path, other: Path, needed: str) -> None:
    """It comes before those of the library that needs it."""
    plain = compile_c(tmp_path / "plain/libneeded.so", needed, "-Wl,-soname,libneeded.so")
    options = (f"-L{plain.parent}", "-Wl,--no-as-needed", "-lneeded")
    source = filler(150) + LIBRARY + HOOK
    pair = pack_twin(
        compile_c(tmp_path / "original/libtwin.so", source, *options), tmp_path / "packed", DATA
    )
    # No code of this one faults.
    every = tuple(range(pages_of(pageable_ranges(pair.original))))
    mapped = replace(DATA, hot=every, mapped=True)
    all_mapped = pack_twin(pair.original, tmp_path / "mapped", mapped)
    for folder in ("original", "packed", "mapped"):
        shutil.copy(plain, tmp_path / folder)
    code = f"{LOAD}print(results(), ctypes.CDLL('libneeded.so').what_was_seen())"
    assert same(pair, code).out.endswith("[0, 0, 0, 0, 0] 0\n")
    same(pair, code, before=other)
    same(all_mapped, code)


def test_data_of_a_library_that_is_started_later(tmp_path: Path, other: Path) -> None:
    """The first of two libraries that need each other hands data of the second to the kernel."""
    one = f"""{filler(150, seed=3)}{noise(seed=9)}
#include <unistd.h>
extern const char named[70000];
static int seen = -1;
__attribute__((constructor)) static void start(void)
{{ int ends[2]; if (pipe(ends) == 0) seen = write(ends[1], named + 20000, 30000); }}
int what_was_seen(void) {{ return seen + noise[3][5] * 0; }}
"""
    folder = tmp_path / "original"
    first = compile_c(folder / "libfirst.so", one, "-Wl,-soname,libfirst.so")
    options = (f"-L{folder}", "-Wl,--no-as-needed", "-lfirst")
    second = compile_c(folder / "libtwin.so", filler(150) + LIBRARY + HOOK, *options)
    pair = pack_twin(second, tmp_path / "packed", DATA)
    pack_twin(first, tmp_path / "packed", DATA)
    code = f"{LOAD}print(ctypes.CDLL('libfirst.so').what_was_seen(), results())"
    assert same(pair, code).out.endswith("\n30000 [0, 0, 0, 0, 0]\n")
    same(pair, code, before=other)


def test_it_comes_and_goes_and_children_have_it(tmp_path: Path, other: Path) -> None:
    # A packed library is never unloaded, so neither is its twin.
    pair = library(tmp_path, "-Wl,-z,nodelete")
    code = f"""{LOAD}
import _ctypes, threading
print(results())
_ctypes.dlclose(library._handle)
again = ctypes.CDLL(paths[-1]); again.sum.restype = ctypes.c_uint64
print(again.sum(), again.again(), flush=True)
child = os.fork()
if child == 0:
    print(again.sum(), again.again(), flush=True); os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    same(pair, code)
    same(pair, code, before=other)


def test_threads_that_load_it_at_once(pair: Twins, other: Path) -> None:
    code = """
import ctypes, sys, threading
paths = sys.argv[1].split(":")
for path in paths[:-1]: ctypes.CDLL(path)
gate, found = threading.Barrier(16), []
def load():
    gate.wait()
    library = ctypes.CDLL(paths[-1]); library.sum.restype = ctypes.c_uint64
    found.append((library.sum(), [library.result(n) for n in range(5)]))
threads = [threading.Thread(target=load) for _ in range(16)]
for one in threads: one.start()
for one in threads: one.join()
print(len(found), set(map(str, found)))
"""
    for _ in range(3):
        same(pair, code, before=other)


def test_a_recording_does_not_name_data(pair: Twins, tmp_path: Path) -> None:
    """Its pages are the same with and without data."""
    code_alone = pack_twin(pair.original, tmp_path / "code", PackOptions(level=3))
    found = []
    for path in (code_alone.packed, pair.packed):
        trace = tmp_path / path.parent.name
        done = run_python(ASK, path, {"LAYERPACK_TRACE": str(trace.with_suffix(".trace"))})
        assert done == run_python(ASK, pair.original)
        found.append(sorted(trace.with_suffix(".trace").read_text().splitlines()))
    assert found[0] and found[0] == found[1]


def test_a_full_address_space_has_room_for_data(pair: Twins, other: Path) -> None:
    code = """
import ctypes, resource, sys
first, second = sys.argv[1].split(":")
ctypes.CDLL(first).call(3, 3)
open(second).close()
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
library = ctypes.CDLL(second)
print(library.sum(), [library.result(n) for n in range(5)])
"""
    # For the library itself, and the little that its loading takes.
    room = max(one.vaddr + one.memsz for one in read_file(pair.packed).loads) + 128 * 1024
    code = code.replace("ROOM", str(room))
    found = [
        run("python3", "-c", code, f"{other}:{library}", library=pair.packed)
        for library in (pair.original, pair.packed)
    ]
    assert found[0].code == 0
    assert found[1] == found[0]


@pytest.mark.parametrize("what", ["header", "blocks", "checksum", "truncated"])
def test_damage_is_told(pair: Twins, tmp_path: Path, what: str) -> None:
    shutil.copy(pair.packed.parent / PAGER_SONAME, tmp_path)
    copy = Path(shutil.copy(pair.packed, tmp_path))
    data = bytearray(copy.read_bytes())
    parts = read(bytes(data))
    at = next(one.offset for one in parts.segments if one.type == PT_LAYERPACK)
    index = read_index(bytes(data[at:]))
    load = next(one for one in parts.loads if one.holds(index.frames))
    block = index.blocks[0]
    start = index.frames - load.vaddr + load.offset + block.offset
    if what == "truncated":
        copy.write_bytes(data[: start & ~4095])
        expected = "the file is truncated, or cannot be read"
    else:
        place = {"header": 2, "blocks": block.size // 2, "checksum": block.size - 1}[what]
        data[start + place] ^= 1
        copy.write_bytes(data)
        expected = "its compressed data is damaged"
    done = run_python(ASK, copy)
    assert (done.code, done.out) == (-signal.SIGABRT, "")
    assert done.err.startswith(f"layerpack: {copy}: {expected}; ")


def test_times_of_data_are_told_with_those_of_code(pair: Twins, tmp_path: Path) -> None:
    timings = tmp_path / "timings"
    run_python(ASK, pair.packed, {"LAYERPACK_TIMINGS": str(timings)})
    rows = [line.split() for line in timings.read_text().splitlines() if line[0] != "-"]
    largest = max(rows, key=lambda row: int(row[2]))
    assert int(largest[2]) >= 500_000 and 0 < int(largest[3]) < int(largest[2])
    assert 0 < int(largest[6]) < int(largest[5])


def test_the_pager_is_there(pair: Twins) -> None:
    assert (pair.packed.parent / PAGER_SONAME).read_bytes() == pager_file("x86_64").read_bytes()
