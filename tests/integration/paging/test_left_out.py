"""Packed libraries without some of their code: whoever misses it is told so, all else works."""

from __future__ import annotations

import shutil
import signal
import struct
import sys
from pathlib import Path

import pytest

from layerpack.elf import index as form
from layerpack.elf.drops import Dropped, Drops, Entry
from layerpack.elf.index import PAGE
from layerpack.elf.pack import PackOptions
from layerpack.elf.ranges import pageable_ranges
from tests.integration.paging.test_integrity import index_offset, refused
from tests.integration.paging.test_signals import DRIVER
from tests.support.symbols import symbols
from tests.support.twins import (
    Run,
    Twins,
    compile_c,
    compile_program,
    filler,
    pack_twin,
    run,
    run_python,
)

pytestmark = pytest.mark.cxx

SOURCE = filler(120) + "\n" + Path(__file__).with_name("left_out.cc").read_text()
GONE = ("gone", "gone_too", "nameless", "hidden", "plain", "first", "second", "deep")
#: Of those that throw: the argument that tells the name, and the steps to it.
TOLD = {"plain": (0, 0), "first": (1, 0), "second": (2, 1), "deep": (1, 2)}
#: Ways to miss code, and the name of what is missed.
WAYS = {
    "directly": "hidden",
    "from_elsewhere": "gone_too",
    "without_a_name": "",
    "by_pointer": "gone",
    "into_its_middle": "gone",
    "in_a_thread": "gone",
    "in_many_threads": "gone",
    "with_handlers": "gone",
    "while_ignored": "gone",
    "while_blocked": "gone",
    "in_a_handler": "gone",
}
CRASHES = ["null_read", "null_call", "wild_read", "privileged"]

#: What is left, compared with the original: the filler, and the neighbours of what is gone.
NAMES = ("before", "between", "after", "call_all")
CALLS = f"""
import ctypes, faulthandler, sys
library = ctypes.CDLL(sys.argv[1])
for name in {NAMES}: getattr(library, name).restype = ctypes.c_uint64
def answers():
    calls = [library.before, library.between, library.after, library.call_all]
    return [call(ctypes.c_uint64(x << 40 | x)) for x in range(50) for call in calls]
"""


def hint_of(name: str) -> str:
    """What brings a function back: another text for each."""
    return f"add '{name or 'nothing'}' to what.is-kept in the recipe"


def drops_of(library: Path) -> Drops:
    """What is left out of a library that was made of `SOURCE`."""
    functions = symbols(library)
    names = {name: "" if name == "nameless" else name for name in GONE}
    return Drops(
        dropped=tuple(
            Dropped(
                start=functions[symbol].start,
                end=functions[symbol].end,
                name=name,
                hint=hint_of(name),
            )
            for symbol, name in names.items()
        ),
        entries=tuple(
            Entry(
                vaddr=functions[name].start,
                before="misses ",
                name=f"what '{name}' is",
                after=" here",
                argument=argument,
                steps=steps,
            )
            for name, (argument, steps) in TOLD.items()
        ),
        thrower=functions["thrower"].start,
    )


def missed(path: Path, name: str) -> str:
    """All that a process says that misses code of the library at `path`."""
    of = f" ({name})" if name else ""
    return f"layerpack: {path}: code that was left out of it is missed{of}; {hint_of(name)}\n"


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "mapped"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The page with the code that is left out is compressed, or mapped by the loader."""
    folder = tmp_path_factory.mktemp("pair")
    original = compile_c(folder / "original/libtwin.so", SOURCE, cxx=True)
    (code,) = (one for one in pageable_ranges(original) if one.flags & 1)
    assert pageable_ranges(original)[0] == code
    page = (symbols(original)["gone"].start - code.vaddr) // PAGE
    options = PackOptions(
        level=3, window_size=16384, drops=drops_of(original), hot=(page,), mapped=request.param
    )
    return pack_twin(original, folder / "packed", options)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("driver") / "driver", DRIVER)


@pytest.fixture
def copy(pair: Twins, tmp_path: Path) -> Path:
    """A packed library to damage, with the pager beside it."""
    return Path(shutil.copytree(pair.packed.parent, tmp_path / "copy")) / pair.packed.name


def test_kept_and_dropped_functions_touch(pair: Twins) -> None:
    """What the other tests mean by neighbours."""
    found = symbols(pair.original)
    order = ("before", "gone", "between", "gone_too", "nameless", "after", "hidden")
    functions = [found[name] for name in order]
    assert [one.end for one in functions[:-1]] == [one.start for one in functions[1:]]
    assert len({one.start // PAGE for one in functions}) == 1
    (code,) = (one for one in pageable_ranges(pair.original) if one.flags & 1)
    assert code.vaddr <= functions[0].start < code.end


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_and_the_process_ends(pair: Twins, driver: Path, way: str) -> None:
    if way != "into_its_middle":
        expected = run(driver, pair.original, way, library=pair.original)
        assert expected == Run(code=0, out="calls\nreturned\n", err="")
    done = run(driver, pair.packed, way, library=pair.packed)
    assert done == Run(code=-signal.SIGABRT, out="calls\n", err=missed(pair.packed, WAYS[way]))


def test_a_child_that_misses_it_ends_alone(pair: Twins, driver: Path) -> None:
    expected = run(driver, pair.original, "in_a_child", library=pair.original)
    assert "child ended by signal 0\n" in expected.out
    done = run(driver, pair.packed, "in_a_child", library=pair.packed)
    assert (done.code, done.err) == (0, missed(pair.packed, "gone"))
    assert done.out == expected.out.replace("by signal 0", f"by signal {signal.SIGABRT:d}")


@pytest.mark.parametrize("name", [name for name in GONE if name not in (*TOLD, "hidden")])
@pytest.mark.parametrize("faulthandler", ["", "faulthandler.enable()"], ids=["plain", "enabled"])
def test_python_says_nothing_of_its_own(pair: Twins, name: str, faulthandler: str) -> None:
    code = f"{CALLS}{faulthandler}\nprint(answers()[0], flush=True)\nlibrary.{name}(3)\nprint('on')"
    expected = run_python(code, pair.original)
    done = run_python(code, pair.packed)
    told = missed(pair.packed, "" if name == "nameless" else name)
    first = f"{expected.out.splitlines()[0]}\n"
    assert expected.out == f"{first}on\n"
    assert done == Run(code=-signal.SIGABRT, out=first, err=told)


@pytest.mark.parametrize("step", [0, 1, 40, -1])
def test_every_byte_of_it_is_missed(pair: Twins, step: int) -> None:
    """By a jump; what is in front of it and behind it is not."""
    gone = symbols(pair.original)["gone"]
    at = gone.start + step % (gone.end - gone.start)
    code = f"{CALLS}place = ctypes.cast(library.before, ctypes.c_void_p).value\n"
    code += f"ctypes.CFUNCTYPE(None)(place + {at - symbols(pair.original)['before'].start})()"
    done = run_python(code, pair.packed)
    assert done == Run(code=-signal.SIGABRT, out="", err=missed(pair.packed, "gone"))


def test_what_is_kept_works(pair: Twins) -> None:
    code = f"{CALLS}print(answers(), [library.call(i, 9) for i in range(120)])"
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert run_python(code, pair.packed) == expected
    # And it is paged: it takes less than the original.
    assert pair.packed.stat().st_size < pair.original.stat().st_size


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_is_the_program_s(pair: Twins, driver: Path, crash: str) -> None:
    """HLT of the program's own, and another fault that the kernel tells like one, too."""
    expected = run(driver, pair.original, crash, library=pair.original)
    assert (expected.code, expected.err) == (7, "")
    assert expected.out.startswith(f"handler of signal {signal.SIGSEGV:x}\n")
    assert run(driver, pair.packed, crash, library=pair.packed) == expected


#: Small functions at both ends of a library's code, where pages hold something else too.
EDGES = f"""
unsigned long at_start(unsigned long x) {{ return x * 5 + 2; }}
{filler(120)}
uint64_t at_end(uint64_t x) {{ return x * 3 + 1; }}
"""


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Twins]:
    """Libraries without those functions, and with a probe at each."""
    folder = tmp_path_factory.mktemp("edges")
    original = compile_c(folder / "original/libedges.so", EDGES)
    (code,) = (one for one in pageable_ranges(original) if one.flags & 1)
    found = {name: symbols(original)[name] for name in ("at_start", "at_end")}
    assert found["at_start"].end <= code.vaddr
    assert found["at_end"].start >= code.end
    gone = tuple(
        Dropped(start=one.start, end=one.end, name=name, hint=hint_of(name))
        for name, one in found.items()
    )
    probes = tuple(one.start for one in found.values())
    made = {"dropped": Drops(dropped=gone), "probed": Drops(probes=probes)}
    return {
        what: pack_twin(original, folder / what, PackOptions(level=3, drops=drops))
        for what, drops in made.items()
    }


#: The pager runs already, for another library, and has not seen this one.
LATER = """
import ctypes, sys
first, library = (ctypes.CDLL(path) for path in sys.argv[1:])
print(first.before(1) != 0, flush=True)
"""


@pytest.mark.parametrize("name", ["at_start", "at_end"])
def test_nothing_of_a_library_has_run_before(
    pair: Twins, edges: dict[str, Twins], name: str
) -> None:
    dropped, probed = edges["dropped"].packed, edges["probed"].packed
    path = {"LD_LIBRARY_PATH": f"{pair.packed.parent}"}
    command = (*(sys.executable, "-c"), f"{LATER}print(library.{name}(3))", pair.packed)
    done = run(*command, dropped, library=dropped, env=path)
    assert done == Run(code=-signal.SIGABRT, out="True\n", err=missed(dropped, name))
    expected = run(*command, edges["probed"].original, library=probed, env=path)
    assert expected.code == 0
    assert run(*command, probed, library=probed, env=path) == expected


def table_extent(data: bytes) -> tuple[int, int]:
    """Where the compressed table lies, in the file."""
    start = index_offset(data)
    (drops,) = struct.unpack_from("<I", data, start + 120)
    _, _, _, table, size, _ = struct.unpack_from("<QIIIII", data, start + drops)
    return start + drops + table, start + drops + table + size


def test_a_damaged_byte_of_the_table(copy: Path) -> None:
    data = copy.read_bytes()
    first, last = table_extent(data)
    assert data[first : first + 4] == b"\x28\xb5\x2f\xfd"
    for at in (*range(first, last, (last - first) // 12), last - 1):
        changed = bytearray(data)
        changed[at] ^= 0x10
        copy.write_bytes(changed)
        done = run_python(f"{CALLS}print(answers())", copy)
        refused(done, copy, "the index of its compressed code is damaged")


@pytest.mark.parametrize("at", [0, 3, 5, 8, 10])
def test_a_table_that_is_none(copy: Path, driver: Path, at: int) -> None:
    """Under a checksum that is right: it is only read where something is missed."""
    changed = bytearray(copy.read_bytes())
    start = index_offset(bytes(changed))
    changed[table_extent(bytes(changed))[0] + at] ^= 0xFF
    (size,) = struct.unpack_from("<Q", changed, start + 16)
    summed = form.checksum(bytes(changed[start + 16 : start + size]))
    struct.pack_into("<I", changed, start + 12, summed)
    copy.write_bytes(changed)
    code = f"{CALLS}print(answers(), flush=True)"
    expected = run_python(code, copy)
    assert expected.code == 0
    done = run_python(f"{code}\nlibrary.gone(3)", copy)
    assert (done.code, done.out) == (-signal.SIGABRT, expected.out)
    assert done.err.startswith(f"layerpack: {copy}: the table of what was left out is damaged; ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("level", "flags", "name"),
    [
        ("avx2", "avx2 fma", "AVX2"),
        ("avx512", "avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl", "AVX-512"),
    ],
)
def test_what_this_processor_has_decides(
    pair: Twins, tmp_path: Path, level: str, flags: str, name: str
) -> None:
    hint = f"keep '{level}' and another level in the recipe"
    options = PackOptions(level=3, drops=Drops(needs=level, needs_hint=hint))
    packed = pack_twin(pair.original, tmp_path / "packed", options).packed
    done = run_python(f"{CALLS}print(answers())", packed)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    has = next(line for line in lines if line.startswith("flags")).split()
    if set(flags.split()) <= set(has):
        assert done == run_python(f"{CALLS}print(answers())", pair.original)
    else:
        what = "AVX2" if "avx2" not in has or "fma" not in has else name
        told = f"it was reduced to code for processors with {what}, and this one has none; {hint}"
        assert done == Run(code=-signal.SIGABRT, out="", err=f"layerpack: {packed}: {told}\n")
