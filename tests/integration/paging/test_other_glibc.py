"""Packed libraries with other C libraries than this machine's.

Debian 11 has glibc 2.31, whose loader writes into dynamic sections; Debian 13 has 2.41. The rest of
the tests runs on what is here (2.36 on Debian 12).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerpack.elf import PackOptions
from tests.integration.paging.test_loader_lock import FAULTS, check, check_crossing, compiled
from tests.integration.paging.test_signals import DRIVER, SCENARIOS
from tests.support.packed_trees import install, packed_twin
from tests.support.roots import System, debian, packed
from tests.support.twins import FUNCTIONS, Run, Twins, filler, is_paged

pytestmark = pytest.mark.roots

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# What gives the calls by Python: paged code of constructors, threads, exceptions, exit handlers.
CALLS = f"""
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
for name in "call", "call_all", "thrown", "constructed":
    getattr(library, name).restype = ctypes.c_uint64
print([library.call(n, ctypes.c_uint64(7)) for n in range({FUNCTIONS})])
print([library.thrown(ctypes.c_uint64(n)) for n in range(20)], library.constructed(), flush=True)
other = ctypes.CDLL(sys.argv[2])
library.caught.restype = ctypes.c_uint64
print([library.caught(other.throws, ctypes.c_uint64(n)) for n in range(20)], flush=True)
child = os.fork()
if child: os.waitpid(child, 0)
print(bool(child), library.call_all(3), flush=True)
"""
# A program that is linked against the library: the loader maps the two before anything runs.
LINKED = """
#include <exception>
#include <cstdint>
#include <cstdio>
extern "C" uint64_t call_all(uint64_t), thrown(uint64_t), constructed();
int main() { printf("%lx %lx %lx\\n", call_all(1), thrown(9), constructed()); }
"""


#: Releases of Debian, and their glibc.
RELEASES = {"bullseye": "2.31", "trixie": "2.41"}


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def system(
    release: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> System:
    cache = pytestconfig.cache
    assert cache is not None
    return debian(release, cache.mkdir("roots"), tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def pair(system: System, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """Made by that system's compiler."""
    source = (HERE / "library.cc").read_text()
    options = PackOptions(level=3, window_size=16384)
    return system.twins(tmp_path_factory.mktemp("pair"), source, cxx=True, options=options)


def test_it_is_that_glibc(release: str, system: System, pair: Twins) -> None:
    code = "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    done = system.run("python3", "-c", code, library=pair.original)
    assert done.out == f"glibc {RELEASES[release]}\n"


@pytest.mark.parametrize("now", ["", "1"], ids=["lazy", "bound at once"])
def test_python_calls_a_packed_library(
    system: System, pair: Twins, now: str, tmp_path: Path
) -> None:
    assert is_paged(pair, "thrown") and is_paged(pair, "caught")

    def run(library: Path) -> Run:
        environment = {"LD_BIND_NOW": now} if now else {}
        other = shutil.copy(library, tmp_path / f"libother-{library.parent.name}.so")
        command = ("python3", "-W", "ignore", "-c", CALLS, library, other)
        return system.run(*command, library=library, environment=environment)

    expected = run(pair.original)
    assert expected.code == 0
    assert "exit" in expected.out
    assert run(pair.packed) == expected


def test_a_program_is_linked_against_a_packed_library(
    system: System, pair: Twins, tmp_path: Path
) -> None:
    options = ("-pie", f"-L{pair.original.parent}", "-ltwin")
    program = system.compile(tmp_path / "linked", LINKED, *options, cxx=True)
    expected = system.run(program, library=pair.original)
    assert expected.code == 0
    assert system.run(program, library=pair.packed) == expected


@pytest.mark.parametrize("way", ["together", "fork", "clone", "vfork", "spawn"])
def test_threads_and_processes(system: System, pair: Twins, tmp_path: Path, way: str) -> None:
    storm = system.compile(tmp_path / "storm", (HERE / "storm.c").read_text(), "-pie")
    done = system.run(storm, pair.packed, pair.original, way, "4", library=pair.packed)
    assert (done.code, done.out, done.err) == (0, "0 wrong\n", "")


@pytest.fixture(scope="module")
def signals(system: System, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return system.twins(tmp_path_factory.mktemp("signals"), (HERE / "signals.c").read_text())


@pytest.fixture(scope="module")
def driver(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return system.compile(tmp_path_factory.mktemp("driver") / "driver", DRIVER, "-pie")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_signals(system: System, signals: Twins, driver: Path, scenario: str) -> None:
    expected = system.run(driver, signals.original, scenario, library=signals.original)
    assert system.run(driver, signals.packed, scenario, library=signals.packed) == expected


def test_the_loaders_lock_is_held(system: System, tmp_path: Path) -> None:
    libraries = compiled(tmp_path, system.compile, packed)
    for where, what in FAULTS:
        check(libraries, system.run, where, what)
    check_crossing(libraries, system.compile, system.run, tmp_path)


def test_libraries_made_here_and_there(system: System, tmp_path: Path) -> None:
    names = {n: tmp_path / f"original/lib{n}.so" for n in (1, 2)}
    originals = [system.compile(path, filler(120, seed=n)) for n, path in names.items()]
    pairs = [packed(original, tmp_path / "packed") for original in originals]
    code = "import ctypes, sys\nfor p in sys.argv[1:]: print(ctypes.CDLL(p).call_all(5))"
    expected = system.run("python3", "-c", code, *originals, library=originals[0])
    assert expected.code == 0
    both = [pair.packed for pair in pairs]
    assert system.run("python3", "-c", code, *both, library=both[0]) == expected


@pytest.mark.parametrize("release", ["bullseye"], indirect=True)
def test_numpy_in_its_python(system: System, tmp_path: Path) -> None:
    plain = install(tmp_path / "plain", ["numpy==2.0.2"], python="3.9")
    libraries = packed_twin(plain, tmp_path / "packed")
    assert sum(one.reason is None for one in libraries) > 10
    # The checks, without the rest of the repository.
    checks = tmp_path / "checks/benchmarks/stacks"
    checks.mkdir(parents=True)
    for name in ("__init__.py", "numpy_bits.py", "results.py"):
        shutil.copy(ROOT / "benchmarks/stacks" / name, checks)

    def answers(tree: Path) -> list[str]:
        results = tmp_path / f"{tree.name}.jsonl"
        path = f"{tree}:{tmp_path / 'checks'}"
        done = system.run(
            *("python3", "-S", "-B", "-m", "benchmarks.stacks.numpy_bits", results),
            library=tree / "none",
            environment={"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert done.code == 0, done.err
        return results.read_text().splitlines()

    expected = answers(plain)
    assert len(expected) >= 290
    assert sum("error: " in line for line in expected) == 1
    assert answers(tmp_path / "packed") == expected
