"""Packed libraries without some of their code on other processors, emulated."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.elf import PackOptions, read_file
from layerpack.elf.code import Code
from layerpack.elf.drops import Dropped, Drops
from layerpack.elf.unwinding import unwinding_of
from tests.integration.paging.test_left_out import SOURCE, WAYS, drops_of, missed
from tests.integration.paging.test_left_out_exceptions import CATCHER, COUNT, HANDLERS, handlers
from tests.integration.paging.test_signals import DRIVER
from tests.support.roots import System, emulated_aarch64, packed
from tests.support.symbols import symbols
from tests.support.twins import Run, Twins, filler

pytestmark = pytest.mark.roots

#: It gives answers that take all of the library's code.
ANSWERS = '\n#include <stdio.h>\nvoid answers(void) { printf("%lx\\n", call_all(3)); }\n'
HINT = "add 'baseline' to cpu in the recipe"
#: Processors by their names in QEMU, with what a library needs, and the processor lacks.
PROCESSORS = [
    ("x86_64", "Nehalem", "", ""),
    ("x86_64", "Nehalem", "avx2", "AVX2"),
    ("x86_64", "Nehalem", "avx512", "AVX2"),
    # It has AVX, but not AVX2.
    ("x86_64", "SandyBridge", "avx2", "AVX2"),
    ("x86_64", "Haswell", "avx2", ""),
    ("x86_64", "Haswell", "avx512", "AVX-512"),
    ("x86_64", "max", "avx2", ""),
    ("x86_64", "Haswell,-fma", "avx2", "AVX2"),
    ("aarch64", "neoverse-n1", "", ""),
    ("aarch64", "neoverse-n1", "neon", ""),
    ("aarch64", "neoverse-n1", "sve", "SVE"),
    ("aarch64", "max", "sve", ""),
    ("aarch64", "max,sve=off", "sve", "SVE"),
]


def machine(name: str, processor: str = "max") -> System:
    """A machine with a processor, emulated."""
    if name == "aarch64":
        emulator, *rest = emulated_aarch64().enter
        return replace(emulated_aarch64(), enter=(emulator, "-cpu", processor, *rest))
    emulator = shutil.which("qemu-x86_64") or ""
    assert emulator, "the tests marked `roots` need qemu-x86_64, which is not installed"
    return System(compilers=(("gcc",), ("g++",)), enter=(emulator, "-cpu", processor))


@pytest.fixture(scope="module")
def aarch64() -> System:
    return machine("aarch64")


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("drivers")
    names = ("x86_64", "aarch64")
    return {name: machine(name).compile(folder / name, DRIVER, "-pie") for name in names}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A library for each machine, of which nothing is left out."""
    folder = tmp_path_factory.mktemp("plain")
    source = filler(120) + ANSWERS
    names = ("x86_64", "aarch64")
    return {name: machine(name).compile(folder / name / "libplain.so", source) for name in names}


def told(done: Run) -> Run:
    """What a process said, but for what QEMU says of it, and of processors that it lacks."""
    lines = [line for line in done.err.splitlines(keepends=True) if not line.startswith("qemu")]
    return replace(done, err="".join(lines))


@pytest.mark.parametrize("case", PROCESSORS, ids=" ".join)
def test_the_processor_must_have_what_a_library_needs(
    plain: dict[str, Path], drivers: dict[str, Path], tmp_path: Path, case: tuple[str, ...]
) -> None:
    name, processor, needs, lacks = case
    system = machine(name, processor)
    original = plain[name]
    assert read_file(original).machine == name
    drops = Drops(needs=needs, needs_hint=HINT)
    packed_one = packed(original, tmp_path, PackOptions(level=3, drops=drops)).packed
    expected = told(system.run(drivers[name], original, "answers", library=original))
    assert (expected.code, expected.err) == (0, "")
    assert expected.out.endswith("\nreturned\n")
    done = told(system.run(drivers[name], packed_one, "answers", library=packed_one))
    if lacks:
        what = f"it was reduced to code for processors with {lacks}, and this one has none"
        line = f"layerpack: {packed_one}: {what}; {HINT}\n"
        assert done == Run(code=-signal.SIGABRT, out="", err=line)
    else:
        assert done == expected


@pytest.fixture(scope="module")
def pair(aarch64: System, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    folder = tmp_path_factory.mktemp("pair")
    # One function directly behind the other.
    options = ("-fno-align-functions", "-fno-toplevel-reorder")
    original = aarch64.compile(folder / "original/libtwin.so", SOURCE, *options, cxx=True)
    drops = drops_of(original)
    return packed(original, folder / "packed", PackOptions(level=3, window_size=16384, drops=drops))


def test_kept_and_dropped_functions_touch(pair: Twins) -> None:
    found = symbols(pair.original)
    order = ("before", "gone", "between", "gone_too", "nameless", "after")
    assert read_file(pair.packed).machine == "aarch64"
    functions = [found[name] for name in order]
    assert [one.end for one in functions[:-1]] == [one.start for one in functions[1:]]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_and_the_process_ends(
    aarch64: System, pair: Twins, drivers: dict[str, Path], way: str
) -> None:
    if way != "into_its_middle":
        expected = aarch64.run(drivers["aarch64"], pair.original, way, library=pair.original)
        assert expected == Run(code=0, out="calls\nreturned\n", err="")
    done = aarch64.run(drivers["aarch64"], pair.packed, way, library=pair.packed)
    line = missed(pair.packed, WAYS[way])
    assert told(done) == Run(code=-signal.SIGABRT, out="calls\n", err=line)


def test_a_child_that_misses_it_ends_alone(
    aarch64: System, pair: Twins, drivers: dict[str, Path]
) -> None:
    """Its parent goes on, with the functions beside."""
    driver = drivers["aarch64"]
    expected = aarch64.run(driver, pair.original, "in_a_child", library=pair.original)
    assert "child ended by signal 0\n" in expected.out
    done = aarch64.run(driver, pair.packed, "in_a_child", library=pair.packed)
    assert done.out == expected.out.replace("by signal 0", f"by signal {signal.SIGABRT:d}")
    assert (done.code, told(done).err) == (0, missed(pair.packed, "gone"))


@pytest.mark.parametrize("crash", ["null_read", "null_call"])
def test_a_crash_is_the_program_s(
    aarch64: System, pair: Twins, drivers: dict[str, Path], crash: str
) -> None:
    """A jump to address 0 is what dropped code does there."""
    driver = drivers["aarch64"]
    expected = aarch64.run(driver, pair.original, crash, library=pair.original)
    assert (expected.code, expected.err) == (7, "")
    assert aarch64.run(driver, pair.packed, crash, library=pair.packed) == expected


def test_what_is_kept_works(aarch64: System, pair: Twins, drivers: dict[str, Path]) -> None:
    driver = drivers["aarch64"]
    expected = aarch64.run(driver, pair.original, "kept", library=pair.original)
    assert expected.code == 0
    assert len(expected.out.splitlines()) == 151
    assert aarch64.run(driver, pair.packed, "kept", library=pair.packed) == expected


def test_exceptions_are_told(aarch64: System, pair: Twins, drivers: dict[str, Path]) -> None:
    done = aarch64.run(drivers["aarch64"], pair.packed, "exceptions", library=pair.packed)
    names = ["plain", "first", "second", "first", "first", "second", "first", "deep"]
    plain, *others = [f"what '{name}' is" for name in names]
    lines = [f"misses {name} here {21:x}" for name in (plain, *3 * ["Some.Name_1"], *others)]
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [*lines, "mixed up 0", "returned"]


def test_exceptions_pass_through_what_is_kept(aarch64: System, tmp_path: Path) -> None:
    """Every third function is left out, with what unwinding would read of it."""
    show = f"""
#include <cstdio>
extern "C" void show(void) {{
    for (int i = 0; i < {COUNT}; i++)
        for (uint64_t x = 0; i % 3 != 1 && x < 10; x++) printf("%lx\\n", handled(i, x));
}}
"""
    source = "\n".join((filler(60), HANDLERS, handlers(COUNT), CATCHER, show))
    original = aarch64.compile(tmp_path / "original/libtwin.so", source, cxx=True)
    found = symbols(original)
    gone = [found[f"handle_{i}"] for i in range(COUNT) if i % 3 == 1]
    cleared = unwinding_of(Code(original), (one.start for one in gone))
    assert len(cleared) == 2 * len(gone)
    dropped = tuple(Dropped(start=x.start, end=x.end, name="", hint="") for x in gone)
    options = PackOptions(level=3, drops=Drops(dropped=dropped, cleared=cleared))
    twins = packed(original, tmp_path / "packed", options)
    driver = aarch64.compile(tmp_path / "driver", DRIVER, "-pie")
    expected = aarch64.run(driver, original, "show", library=original)
    assert expected.code == 0
    assert len(expected.out.splitlines()) == COUNT * 2 // 3 * 10 + 1
    assert aarch64.run(driver, twins.packed, "show", library=twins.packed) == expected
