"""Packed libraries at work: threads, fork, exceptions, limits, recordings."""

from __future__ import annotations

import hashlib
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.elf.pack import PackOptions
from tests.support.twins import (
    FUNCTIONS,
    Twins,
    compile_c,
    compile_program,
    filler,
    is_paged,
    pack_twin,
    run,
    run_python,
    twins,
)

#: In C, and in C++, which throws exceptions.
LIBRARY = Path(__file__).with_name("library.c").read_text()
CXX_LIBRARY = Path(__file__).with_name("library.cc").read_text()
#: Small windows, so that there are many.
OPTIONS = PackOptions(level=3, window_size=16384)

CALLS = """
import ctypes, os, random, sys
library = ctypes.CDLL(sys.argv[1])
for name in "call", "call_all", "thrown", "constructed":
    if hasattr(library, name): getattr(library, name).restype = ctypes.c_uint64
def call(number): return library.call(number, ctypes.c_uint64(7))
"""
#: The same, when the thread of the constructor has ended: which pages are touched does not
#: depend on whether it ran before the process ends.
JOINED = f"{CALLS}library.constructed()\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins(tmp_path_factory.mktemp("pair"), LIBRARY, options=OPTIONS)


@pytest.fixture(scope="module")
def cxx_pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins(tmp_path_factory.mktemp("cxx"), CXX_LIBRARY, cxx=True, options=OPTIONS)


def test_every_function_gives_the_same(pair: Twins) -> None:
    code = f"{CALLS}order = list(range({FUNCTIONS})); random.Random(1).shuffle(order)\n"
    code += "print([(n, call(n)) for n in order])"
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert run_python(code, pair.packed) == expected


def test_code_is_absent_until_it_is_touched(pair: Twins) -> None:
    code = f"""{CALLS}
def executable():
    maps = [line.split() for line in open("/proc/self/smaps") if "-" in line.split()[0]]
    ends = [(line[0].split("-"), line[1]) for line in maps]
    return sum(int(e, 16) - int(s, 16) for (s, e), rights in ends if rights == "r-xp")
call(3); before = executable(); call({FUNCTIONS - 100}); print(executable() - before)
"""
    assert run_python(code, pair.packed).out.splitlines()[0] == "16384"


@pytest.mark.parametrize("name", ["pair", pytest.param("cxx_pair", marks=pytest.mark.cxx)])
def test_constructors_threads_and_exit_handlers_run_paged_code(
    request: pytest.FixtureRequest, name: str
) -> None:
    pair: Twins = request.getfixturevalue(name)
    code = f"{CALLS}print(library.constructed(), flush=True)"
    expected = run_python(code, pair.original)
    assert "destructor" in expected.out
    assert "exit" in expected.out
    assert run_python(code, pair.packed) == expected


@pytest.mark.cxx
def test_exceptions_pass_through_paged_frames(cxx_pair: Twins) -> None:
    assert is_paged(cxx_pair, "thrown")
    code = f"{CALLS}print([library.thrown(ctypes.c_uint64(n)) for n in range(20)])"
    expected = run_python(code, cxx_pair.original)
    assert expected.code == 0
    assert run_python(code, cxx_pair.packed) == expected


@pytest.mark.cxx
def test_many_threads_throw_at_once(cxx_pair: Twins) -> None:
    code = f"""{CALLS}
import threading
results = []; gate = threading.Barrier(24)
def work(): gate.wait(); results.append(library.thrown(ctypes.c_uint64(11)))
threads = [threading.Thread(target=work) for _ in range(24)]
for t in threads: t.start()
for t in threads: t.join()
print(results)
"""
    expected = run_python(code, cxx_pair.original)
    assert expected.code == 0
    for _ in range(5):
        assert run_python(code, cxx_pair.packed) == expected


def test_the_file_may_go_and_the_folder_change(pair: Twins, tmp_path: Path) -> None:
    moved = tmp_path / "libtwin.so"
    moved.write_bytes(pair.packed.read_bytes())
    code = f"{CALLS}os.unlink(sys.argv[1]); os.chdir('/'); print(library.call_all(5))"
    expected = run_python(CALLS + "print(library.call_all(5))", pair.original)
    env = {"LD_LIBRARY_PATH": str(pair.packed.parent)}
    assert run_python(code, moved, env) == expected
    assert not moved.exists()


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).with_name("storm.c").read_text()
    return compile_program(tmp_path_factory.mktemp("storm") / "storm", source)


def test_threads_that_touch_one_window_at_once(pair: Twins, storm: Path) -> None:
    for _ in range(3):
        done = run(storm, pair.packed, pair.original, "together", library=pair.packed)
        assert (done.code, done.out, done.err) == (0, "0 wrong\n", "")


@pytest.mark.parametrize("way", ["fork", "clone", "vfork", "spawn"])
def test_processes_that_start_in_a_storm_of_page_ins(pair: Twins, storm: Path, way: str) -> None:
    for _ in range(4):
        done = run(storm, pair.packed, pair.original, way, "4", library=pair.packed)
        assert (done.code, done.out, done.err) == (0, "0 wrong\n", "")


def test_several_libraries_that_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    originals = [
        compile_c(tmp_path / "original" / f"lib{n}.so", filler(120, seed=n)) for n in range(6)
    ]
    pairs = [pack_twin(original, folder) for original in originals]
    code = """
import _ctypes, ctypes, sys
results = []
for path in sys.argv[1].split(":"):
    handle = _ctypes.dlopen(path, 2)
    library = ctypes.CDLL(path, handle=handle)
    library.call_all.restype = ctypes.c_uint64
    results.append(library.call_all(5))
    _ctypes.dlclose(handle)
    again = ctypes.CDLL(path)
    again.call_all.restype = ctypes.c_uint64
    results.append(again.call_all(6))
print(results)
"""

    def joined(paths: list[Path]) -> str:
        return ":".join(map(str, paths))

    expected = run(sys.executable, "-c", code, joined(originals), library=originals[0])
    assert expected.code == 0
    packed = [pair.packed for pair in pairs]
    assert run(sys.executable, "-c", code, joined(packed), library=packed[0]) == expected


def test_a_recording_names_the_pages_that_were_touched(pair: Twins, tmp_path: Path) -> None:
    code = f"{CALLS}print(call(10), call({FUNCTIONS - 10}))"
    trace = tmp_path / "trace"
    expected = run_python(code, pair.original)
    assert run_python(code, pair.packed, {"LAYERPACK_TRACE": str(trace)}) == expected
    digest = subprocess.run(
        ["sha256sum", pair.original], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    lines = [line.split(" ") for line in trace.read_text().splitlines()]
    assert {name for name, _ in lines} == {digest}
    pages = [int(page) for _, page in lines]
    assert len(set(pages)) == len(pages)
    # A few pages of each function, the starts and ends of constructors, of unwinding tables.
    assert 4 <= len(pages) <= 40


def test_a_recording_places_pages_together(pair: Twins, tmp_path: Path) -> None:
    numbers = random.Random(2).sample(range(FUNCTIONS), 20)
    code = f"{JOINED}print([call(n) for n in {numbers}])"
    expected = run_python(code, pair.original)

    def recorded(library: Path, name: str) -> list[int]:
        trace = tmp_path / name
        assert run_python(code, library, {"LAYERPACK_TRACE": str(trace)}) == expected
        return [int(line.split()[1]) for line in trace.read_text().splitlines()]

    pages = recorded(pair.packed, "cold")
    options = PackOptions(level=3, window_size=65536, hot=tuple(pages))
    hot = pack_twin(pair.original, tmp_path / "hot", options)
    assert run_python(code, hot.packed) == expected
    assert run_python(CALLS + "print(library.call_all(5))", hot.packed) == run_python(
        CALLS + "print(library.call_all(5))", pair.original
    )
    # Page numbers do not depend on the windows.
    assert sorted(recorded(hot.packed, "hot.trace")) == sorted(pages)


def test_touched_pages_that_are_mapped_take_no_faults(pair: Twins, tmp_path: Path) -> None:
    numbers = random.Random(3).sample(range(FUNCTIONS), 20)
    code = f"{JOINED}print([call(n) for n in {numbers}])"
    expected = run_python(code, pair.original)
    trace, timings = tmp_path / "trace", tmp_path / "timings"
    assert run_python(code, pair.packed, {"LAYERPACK_TRACE": str(trace)}) == expected
    pages = dict.fromkeys(int(line.split()[1]) for line in trace.read_text().splitlines())
    options = PackOptions(level=3, hot=tuple(pages), mapped=True)
    mapped = pack_twin(pair.original, tmp_path / "mapped", options).packed

    def windows(more: str = "") -> int:
        timings.unlink(missing_ok=True)
        done = run_python(code + more, mapped, {"LAYERPACK_TIMINGS": str(timings)})
        assert done == run_python(code + more, pair.original)
        return sum(not line.startswith("-") for line in timings.read_text().splitlines())

    assert windows() == 0
    assert windows("; print(library.call_all(5))") > 0


def test_windows_are_timed(pair: Twins, tmp_path: Path) -> None:
    code = f"{CALLS}print(call(10), call({FUNCTIONS - 10}))"
    path = tmp_path / "timings"
    expected = run_python(code, pair.original)
    assert run_python(code, pair.packed, {"LAYERPACK_TIMINGS": str(path)}) == expected
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    digest = hashlib.sha256(pair.original.read_bytes()).hexdigest()
    windows = [tuple(map(int, line[1:])) for line in lines if line[0] == digest]
    assert len({window for window, *_ in windows}) == len(windows) >= 2
    for _, raw, size, runs, whole, decoding in windows:
        assert raw % 4096 == 0 and 0 < size < raw
        assert runs >= 1
        assert 0 < decoding < whole
    # The searches of what is loaded, in nanoseconds.
    others = [line for line in lines if line[0] != digest]
    assert others and all(line[0] == "-" and int(line[1]) > 0 for line in others)


def test_children_record_too(pair: Twins, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"{CALLS}import os\npid = os.fork()\nif pid == 0: call(300); os._exit(0)\n"
    code += "os.chdir('/'); os.waitpid(pid, 0); call(300)"
    for _ in range(2):
        # The name is relative to the folder that the process starts in.
        done = run_python(code, pair.packed, {"LAYERPACK_TRACE": "trace"}, folder=tmp_path)
        assert (done.code, done.err) == (0, "")
    pages = [int(line.split()[1]) for line in trace.read_text().splitlines()]
    # Each of the two runs has the pages of function 300 twice: by the child, and by the parent.
    assert max(pages.count(page) for page in pages) == 4


def test_a_recording_that_cannot_be_written_is_said_so(pair: Twins) -> None:
    done = run_python(CALLS, pair.packed, {"LAYERPACK_TRACE": "/nowhere/trace"})
    assert done.code == -6
    assert done.err.startswith("layerpack: /nowhere/trace: cannot open the file that LAYERPACK_")
    assert done.err.count("\n") == 1


LIMIT = """
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
"""


def test_a_full_address_space_has_room_for_code(pair: Twins) -> None:
    code = f"""{CALLS}{LIMIT}
resource.setrlimit(resource.RLIMIT_AS, (size, size))
total = 0
for n in range({FUNCTIONS}): total ^= call(n)
try: bytearray(1 << 26); print("there was room")
except MemoryError: print(total)
"""
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert expected.out.splitlines()[0].isdigit()
    assert run_python(code, pair.packed) == expected


def test_no_room_at_all_is_said_so(pair: Twins) -> None:
    code = f"""{CALLS}{LIMIT}
resource.setrlimit(resource.RLIMIT_AS, (size // 2, size // 2))
for n in range({FUNCTIONS}): call(n)
print("not reached")
"""
    done = run_python(code, pair.packed)
    assert (done.code, done.out) == (-6, "")
    expected = f"layerpack: {pair.packed}: not enough memory to load its code; "
    assert done.err.startswith(expected)
    assert done.err.count("\n") == 1
    assert resource.getpagesize() == 4096
