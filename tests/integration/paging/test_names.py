"""Signal functions are glibc's where the pager answers them: by name, and by version."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.elf.pager import pager_file
from layerpack.elf.redirected import redirected
from tests.support.libraries import readelf
from tests.support.twins import Twins, compile_c, compile_program, filler, pack_twin, run, twins

# Functions of somebody else's that are called like glibc's.
OWN = """
int signal(int number) { return number + 1000; }
int _signal(int number) { return number + 2000; }
int __sigset(int number) { return number + 3000; }
"""
VERSIONS = "OWN_1 { global: signal; }; OWN_2 { global: _signal; __sigset; };"
USER = """
extern int signal(int), _signal(int), __sigset(int);
static int (*const volatile by_pointer)(int) = signal;
int work(void) { return signal(1) + _signal(1) + __sigset(1) + by_pointer(1); }
"""
DRIVER = r"""
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *packed = dlopen(argv[1], RTLD_NOW), *user = dlopen(argv[2], RTLD_LAZY);
    if (packed == NULL || user == NULL || argc != 3) return 2;
    uint64_t (*call)(int, uint64_t) = (void *)dlsym(packed, "call");
    printf("%lx\n", call(1, 3));
    printf("%d\n", ((int (*)(void))dlsym(user, "work"))());
    for (int i = 0; i < FUNCTIONS; i++) call(i, 3);
    return 0;
}
"""
PLAIN_FIRST = (
    "void *packed = dlopen(argv[1], RTLD_NOW), *user = dlopen(argv[2], RTLD_LAZY);",
    "void *user = dlopen(argv[2], RTLD_LAZY), *packed = dlopen(argv[1], RTLD_NOW);",
)
# glibc's own name of both kinds of sigpause: here a signal to take from the mask.
PAUSE = """
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
extern int __sigpause(int, int);
static volatile int handled;
static void handle(int number) { handled = number; }
int work(void) {
    struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, 0);
    signal(SIGALRM, handle);
    setitimer(ITIMER_REAL, &soon, 0);
    return __sigpause(SIGALRM, 1) * 1000 + handled;
}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins(tmp_path_factory.mktemp("pair"), "")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("driver") / "driver", DRIVER)


@pytest.mark.parametrize("order", ["packed first", "plain first"])
@pytest.mark.parametrize("how", ["plain", "packed"])
def test_functions_of_other_libraries_are_left_alone(
    pair: Twins, tmp_path: Path, how: str, order: str
) -> None:
    source = DRIVER if order == "packed first" else DRIVER.replace(*PLAIN_FIRST)
    driver = compile_program(tmp_path / "driver", source)
    script = tmp_path / "versions.map"
    script.write_text(VERSIONS)
    own = compile_c(tmp_path / "libown.so", OWN, f"-Wl,--version-script={script}")
    user = compile_c(
        tmp_path / "libuser.so",
        (filler() if how == "packed" else "") + USER,
        *("-fno-builtin", str(own), f"-Wl,-rpath,{tmp_path}"),
    )
    assert "signal@OWN_1" in readelf(user, "--dyn-syms", "-W")
    expected = run(driver, pair.original, user, library=pair.original)
    assert expected.out.splitlines()[1:] == [str(1001 + 2001 + 3001 + 1001)]
    if how == "packed":
        user = pack_twin(user, tmp_path / "packed").packed
    assert run(driver, pair.packed, user, library=pair.packed) == expected


@pytest.mark.parametrize("how", ["plain", "packed"])
def test_sigpause_of_two_arguments(pair: Twins, driver: Path, tmp_path: Path, how: str) -> None:
    source = (filler() if how == "packed" else "") + PAUSE
    user = compile_c(tmp_path / "libuser.so", source)
    expected = run(driver, pair.original, user, library=pair.original)
    assert expected.out.splitlines()[1:] == ["-986"]
    if how == "packed":
        user = pack_twin(user, tmp_path / "packed").packed
    assert run(driver, pair.packed, user, library=pair.packed) == expected


LATER = """
#include <signal.h>
#include <unistd.h>
static void taken(int number) { if (write(1, "taken\\n", 6) < 0) _exit(9); _exit(number); }
static __sighandler_t (*volatile set)(int, __sighandler_t) = signal;
int work(void) { set(SIGSEGV, taken); return 0; }
"""


def test_a_pointer_in_data_to_a_signal_function_takes_no_page_in_away(
    pair: Twins, tmp_path: Path
) -> None:
    """In a library that is not packed: its only import of the function is in data."""
    user = compile_c(tmp_path / "libuser.so", LATER)
    assert "R_X86_64_64" in readelf(user, "-r", "-W") or "ABS64" in readelf(user, "-r", "-W")
    # Loaded before the pager comes, which then sees it.
    first = compile_program(tmp_path / "first", DRIVER.replace(*PLAIN_FIRST))
    expected = run(first, pair.original, user, library=pair.original)
    assert (expected.code, expected.err) == (0, "")
    assert run(first, pair.packed, user, library=pair.packed) == expected


def test_the_table_names_functions_that_the_pager_has() -> None:
    for machine in ("x86_64", "aarch64"):
        symbols = readelf(pager_file(machine), "--dyn-syms", "-W")
        exported = {line.split()[-1] for line in symbols.splitlines() if "layerpack_" in line}
        assert set(redirected().values()) == exported
