"""Probes tell of instructions that ran, once each, and change nothing else."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from layerpack.elf.drops import Dropped, Drops
from layerpack.elf.pack import PackOptions
from tests.support.symbols import symbols
from tests.support.twins import FUNCTIONS, Run, Twins, compile_c, filler, pack_twin, run_python

SMALL = 256
THREADS = 16
#: Small functions, many on a page; `storm` has threads call all of them, in orders of their own,
#: and gives how many answers were wrong.
SOURCE = "\n".join(
    [
        filler(),
        "#include <pthread.h>",
        *(f"uint64_t small_{i}(uint64_t x) {{ return x * {i + 3} + {i}; }}" for i in range(SMALL)),
        "static uint64_t (*volatile const small[])(uint64_t) = {",
        *(f"small_{i}," for i in range(SMALL)),
        "};",
        """
uint64_t gone(uint64_t x) { return x; }
static pthread_barrier_t barrier;
static void *work(void *number) {
    uintptr_t step = 2 * (uintptr_t)number + 1, wrong = 0;
    pthread_barrier_wait(&barrier);
    for (uintptr_t i = 0; i < SMALL; i++) {
        uintptr_t at = i * step % SMALL;
        wrong += small[at](i) != i * (at + 3) + at;
    }
    return (void *)wrong;
}
int storm(void) {
    pthread_t threads[THREADS];
    uintptr_t sum = 0;
    void *wrong;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &wrong);
        sum += (uintptr_t)wrong;
    }
    return (int)sum;
}
static uint64_t sums[THREADS];
static void *walk(void *number) {
    uintptr_t at = (uintptr_t)number;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < FUNCTIONS; i++) sums[at] += call((i + at * 7) % FUNCTIONS, 7);
    return NULL;
}
/* The same by all threads, each from another place on: pages of all kinds come in at once. */
uint64_t walks(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, walk, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 1; i < THREADS; i++) if (sums[i] != sums[0]) return 0;
    return sums[0];
}
""".replace("SMALL", str(SMALL)).replace("THREADS", str(THREADS)),
    ]
)
CALLS = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
for number in range(SMALL): library[f"small_{number}"].restype = ctypes.c_uint64
def small(number): return library[f"small_{number}"](ctypes.c_uint64(1 << 40))
""".replace("SMALL", str(SMALL))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """With probes, and without a function that nobody calls by accident."""
    folder = tmp_path_factory.mktemp("pair")
    original = compile_c(folder / "original/libtwin.so", SOURCE)
    gone = symbols(original)["gone"]
    dropped = Dropped(start=gone.start, end=gone.end, name="gone", hint="keep it")
    drops = Drops(dropped=(dropped,), probes=tuple(probes(original).values()))
    options = PackOptions(level=3, window_size=16384, drops=drops)
    return pack_twin(original, folder / "packed", options)


def probes(library: Path) -> dict[str, int]:
    """The start of each small function, and of each of the filler's."""
    found = symbols(library)
    names = [f"small_{i}" for i in range(SMALL)] + [f"f{i}" for i in range(FUNCTIONS)]
    return {name: found[name].start for name in names}


def recorded(trace: Path, pair: Twins) -> list[int]:
    """The probes in a recording, in its order; all lines are of this library."""
    command = ["sha256sum", str(pair.original)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    lines = [line.split(" ") for line in trace.read_text().splitlines()]
    assert {digest for digest, _ in lines} <= {found}
    return [int(word[1:]) for _, word in lines if word.startswith("@")]


@pytest.mark.parametrize("traced", [False, True], ids=["untraced", "traced"])
def test_everything_works_as_before(pair: Twins, tmp_path: Path, traced: bool) -> None:
    code = f"{CALLS}print([small(i) for i in range({SMALL})], library.call_all(5))"
    expected = run_python(code, pair.original)
    assert expected.code == 0
    env = {"LAYERPACK_TRACE": str(tmp_path / "trace")} if traced else None
    assert run_python(code, pair.packed, env) == expected


def test_what_runs_is_recorded_once_as_it_is_first_run(pair: Twins, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    numbers = [*range(90, 30, -3), 0, 255, 90, 0]
    code = f"{CALLS}print([small(i) for i in {numbers}], library.call(7, 3), library.call(7, 3))"
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert run_python(code, pair.packed, {"LAYERPACK_TRACE": str(trace)}) == expected
    found = probes(pair.original)
    names = [f"small_{i}" for i in dict.fromkeys(numbers)] + ["f7"]
    assert recorded(trace, pair) == [found[name] for name in names]
    # Beside it, pages as ever.
    lines = trace.read_text().splitlines()
    assert sum("@" not in line for line in lines) >= 2


def test_threads_that_run_into_probes_at_once(pair: Twins, tmp_path: Path) -> None:
    """All of them into all probes, of which hundreds are on a page."""
    code = f"{CALLS}print(library.storm())"
    small = {at for name, at in probes(pair.original).items() if name.startswith("small")}
    for number in range(10):
        trace = tmp_path / f"trace-{number}"
        for env in ({"LAYERPACK_TRACE": str(trace)}, None):
            assert run_python(code, pair.packed, env) == Run(code=0, out="0\n", err="")
        found = recorded(trace, pair)
        assert set(found) == small
        assert len(found) == len(small)


def test_threads_that_record_pages_at_once(pair: Twins, tmp_path: Path) -> None:
    code = f"{CALLS}print(library.walks())"
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert expected.out != "0\n"
    for number in range(40):
        trace = tmp_path / f"trace-{number}"
        assert run_python(code, pair.packed, {"LAYERPACK_TRACE": str(trace)}) == expected
        lines = trace.read_text().splitlines()
        assert len(set(lines)) == len(lines) > FUNCTIONS


def test_children_record_what_they_run(pair: Twins, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"{CALLS}small(1); pid = os.fork(); small(2)\n"
    code += "if pid: small(3); os.waitpid(pid, 0); small(4)\nelse: small(5); os._exit(0)"
    done = run_python(code, pair.packed, {"LAYERPACK_TRACE": str(trace)})
    assert done == Run(code=0, out="", err="")
    found = {at: name for name, at in probes(pair.original).items()}
    names = [found[at] for at in recorded(trace, pair)]
    assert names[0] == "small_1"
    assert sorted(names) == [f"small_{i}" for i in (1, 2, 2, 3, 4, 5)]


def test_dropped_code_beside_probes_is_missed(pair: Twins, tmp_path: Path) -> None:
    done = run_python(
        f"{CALLS}library.gone(1)", pair.packed, {"LAYERPACK_TRACE": str(tmp_path / "trace")}
    )
    told = "code that was left out of it is missed (gone); keep it"
    assert done == Run(code=-signal.SIGABRT, out="", err=f"layerpack: {pair.packed}: {told}\n")
    assert recorded(tmp_path / "trace", pair) == []
