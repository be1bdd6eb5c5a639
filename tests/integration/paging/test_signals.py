"""SIGSEGV and SIGBUS of a program whose code is paged: what it asked for is what it gets.

Nearly every test runs the same program on both twins, and expects the same output and end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.elf.pack import PackOptions
from tests.support.twins import FUNCTIONS, Run, Twins, compile_program, run, run_python, twins

LIBRARY = Path(__file__).with_name("signals.c").read_text()

SCENARIOS = [
    "attributed",
    "blocked",
    "blocked_but_one",
    "blocked_fault",
    "bus",
    "by_sigaction",
    "by_signal",
    "cancelled",
    "contexts",
    "crash",
    "crash_call",
    "full_mask",
    "held",
    "ignored_fault",
    "inherited",
    "interrupted",
    "interrupting",
    "kept_while_blocked",
    "leaving_blocked",
    "leaving_often",
    "nested",
    "nested_nodefer",
    "old_masks",
    "once",
    "once_of_two",
    "once_old",
    "once_while_held",
    "overflow",
    "raised",
    "raised_ignored",
    "refused",
    "repaired",
    "restarted",
    "run_data",
    "sent",
    "sent_often",
    "sent_often_on_stack",
    "small_stacks",
    "suspended",
    "taken_away",
    "waits",
    "write_absent",
    "write_present",
]

DRIVER = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL || argc != 3) { fprintf(stderr, "%s\n", dlerror()); return 2; }
    ((void (*)(void))dlsym(library, argv[2]))();
    puts("returned");
    return 0;
}
"""

CRASHES = """
import ctypes, faulthandler, os, sys
{before}
library = ctypes.CDLL(sys.argv[1])
{after}
for number in range(FUNCTIONS): library.call(number, 5)
print("paged", flush=True)
library.crash()
""".replace("FUNCTIONS", str(FUNCTIONS))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    folder = tmp_path_factory.mktemp("pair")
    return twins(folder, LIBRARY, options=PackOptions(level=3, window_size=8192))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("driver") / "driver", DRIVER)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_as_without_paging(pair: Twins, driver: Path, scenario: str) -> None:
    expected = run(driver, pair.original, scenario, library=pair.original)
    assert expected.out != ""
    assert run(driver, pair.packed, scenario, library=pair.packed) == expected


BEFORE = r"""
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
static uint64_t (*call)(int, uint64_t);
static void handle(int number) { printf("%d %d\n", number, call(350, 1) != 0); }
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = handle};
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL || argc != 2) return 2;
    call = (uint64_t (*)(int, uint64_t))dlsym(library, "call");
    raise(SIGUSR1);
    puts("returned");
    return 0;
}
"""


def test_a_handler_that_was_there_before_may_block_all(pair: Twins, tmp_path: Path) -> None:
    program = compile_program(tmp_path / "before", BEFORE)
    expected = run(program, pair.original, library=pair.original)
    assert expected.out == f"{signal.SIGUSR1:d} 1\nreturned\n"
    assert run(program, pair.packed, library=pair.packed) == expected


def test_the_table_of_scenarios_is_whole() -> None:
    defined = re.findall(r"^void (\w+)\(void\)", LIBRARY, re.MULTILINE)
    assert sorted(defined) == sorted(SCENARIOS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("faulthandler.enable()", ""),
        ("", "faulthandler.enable()"),
        ("faulthandler.enable()", "faulthandler.disable(); faulthandler.enable()"),
    ],
    ids=["before", "after", "again"],
)
def test_faulthandler_tells_of_crashes_alone(pair: Twins, before: str, after: str) -> None:
    code = CRASHES.format(before=before, after=after)
    expected, done = run_python(code, pair.original), run_python(code, pair.packed)
    assert expected.code == -signal.SIGSEGV
    assert (done.code, done.out) == (expected.code, expected.out)
    # Once, and the same but for the thread's address.
    assert done.err.count("Fatal Python error: Segmentation fault") == 1
    assert _without_addresses(done) == _without_addresses(expected)


def _without_addresses(done: Run) -> list[str]:
    return [line for line in done.err.splitlines() if "0x" not in line]


def test_without_a_handler_a_crash_is_silent(pair: Twins) -> None:
    done = run_python(CRASHES.format(before="", after=""), pair.packed)
    assert done == Run(code=-signal.SIGSEGV, out="paged\ncrash\n", err="")


def test_python_sees_its_own_masks_and_handlers(pair: Twins) -> None:
    code = f"""
import ctypes, signal, sys
library = ctypes.CDLL(sys.argv[1])
print(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV, signal.SIGUSR2]))
for number in range({FUNCTIONS}): library.call(number, 5)
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGBUS]))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
signal.signal(signal.SIGSEGV, lambda number, frame: print("handled", number))
signal.raise_signal(signal.SIGSEGV)
print(signal.getsignal(signal.SIGSEGV) is not signal.SIG_DFL)
"""
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert run_python(code, pair.packed) == expected


def test_a_mask_that_outlived_exec(pair: Twins) -> None:
    """The process begins with SIGSEGV blocked."""
    code = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])\n"
    code += f"os.execv(sys.executable, [sys.executable, '-c', '''{CRASHES}''', sys.argv[1]])"
    code = code.format(before="", after="")
    done = run_python(code, pair.packed)
    assert done == Run(code=-signal.SIGSEGV, out="paged\ncrash\n", err="")


def test_killed_from_outside(pair: Twins) -> None:
    code = f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print(library.call({FUNCTIONS - 1}, 5) != 0, flush=True)
sys.stdin.read()
"""
    for library in (pair.original, pair.packed):
        env = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
        with subprocess.Popen(
            [sys.executable, "-c", code, library],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"True\n"
            process.send_signal(signal.SIGSEGV)
            assert process.wait(timeout=30) == -signal.SIGSEGV
