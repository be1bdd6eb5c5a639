"""Plain libraries beside packed ones: what they ask of signals takes no page-in away.

Nearly every test runs the same program on the original libraries, and on a packed and a guarded
one, and expects the same output and end.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from layerpack.elf import GuardOptions, GuardResult, PackOptions, PackResult, guard, pack
from layerpack.elf.pager import PAGER_SONAME, pager_file
from tests.support.libraries import readelf
from tests.support.roots import emulated_aarch64
from tests.support.twins import (
    WAITS_AS_IT_LOADS,
    Run,
    Twins,
    compile_c,
    compile_program,
    filler,
    run,
    twins,
)

HERE = Path(__file__).parent

_TAKE = """
#include <signal.h>
#include <unistd.h>
static void taken(int number) { if (write(1, "taken\\n", 6) < 0) _exit(9); _exit(number); }
"""
#: What a plain library does as soon as it is loaded, or where it is told to.
PLAIN = {
    "signal": _TAKE
    + "__attribute__((constructor)) static void start(void) { signal(SIGSEGV, taken); }",
    "sigaction": _TAKE
    + """
__attribute__((constructor)) static void start(void) {
    struct sigaction action = {.sa_handler = taken};
    sigaction(SIGSEGV, &action, NULL);
}""",
    "by a pointer in data": _TAKE
    + """
static __sighandler_t (*volatile const set)(int, __sighandler_t) = signal;
__attribute__((constructor)) static void start(void) { set(SIGSEGV, taken); }""",
    "blocked thread": """
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
static uint64_t (*paged)(int, uint64_t);
static int count;
static void *body(void *sum) {
    for (int i = 0; i < count; i++) *(uint64_t *)sum += paged(i, 5);
    return NULL;
}
void work(uint64_t (*call)(int, uint64_t), int functions) {
    uint64_t sum = 0;
    sigset_t all, before;
    pthread_t thread;
    paged = call, count = functions;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, NULL, body, &sum);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &all);
    printf("blocked %d, sum %lx\\n", sigismember(&all, SIGSEGV), sum);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}""",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    folder = tmp_path_factory.mktemp("pair")
    return twins(folder, "", options=PackOptions(level=3, window_size=8192))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (HERE / "guards.c").read_text()
    return compile_program(tmp_path_factory.mktemp("driver") / "driver", source)


def guarded(path: Path, destination: Path, options: GuardOptions | None = None) -> Path:
    """The guarded form of a library."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    result = guard(path, destination, options or GuardOptions())
    assert isinstance(result, GuardResult), result
    return destination


def put_pager(folder: Path) -> Path:
    """The pager, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(pager_file(platform.machine()), folder / PAGER_SONAME))


@pytest.mark.parametrize("what", PLAIN)
@pytest.mark.parametrize("binding", ["-Wl,-z,lazy", "-Wl,-z,now"])
def test_a_library_that_comes_later_takes_no_page_in_away(
    pair: Twins, driver: Path, tmp_path: Path, what: str, binding: str
) -> None:
    plain = compile_c(tmp_path / "libplain.so", PLAIN[what], binding)
    expected = run(driver, pair.original, plain, library=pair.original)
    # It crashes at its end: by the plain library's handler, where there is one.
    blocked = what == "blocked thread"
    assert expected.code == (-signal.SIGSEGV if blocked else signal.SIGSEGV)
    assert len(expected.out.splitlines()) == 3
    assert ("blocked 1" if blocked else "taken") in expected.out
    other = guarded(plain, tmp_path / "guarded/libplain.so")
    assert run(driver, pair.packed, other, library=pair.packed) == expected


@pytest.mark.roots
def test_on_aarch64(tmp_path: Path) -> None:
    emulated = emulated_aarch64()
    options = PackOptions(level=3, window_size=8192)
    both = emulated.twins(tmp_path / "pair", "", options=options)
    program = emulated.compile(tmp_path / "driver", (HERE / "guards.c").read_text(), "-pie")
    for number, source in enumerate(PLAIN.values()):
        plain = emulated.compile(tmp_path / f"{number}/libplain.so", source)
        expected = emulated.run(program, both.original, plain, library=both.original)
        assert len(expected.out.splitlines()) == 3
        other = guarded(plain, tmp_path / f"{number}/guarded/libplain.so")
        assert emulated.run(program, both.packed, other, library=both.packed) == expected


@pytest.mark.parametrize("what", PLAIN)
def test_a_guarded_library_works_where_nothing_is_packed(
    pair: Twins, driver: Path, tmp_path: Path, what: str
) -> None:
    plain = compile_c(tmp_path / "libplain.so", PLAIN[what])
    other = guarded(plain, tmp_path / "guarded/libplain.so")
    pager = put_pager(tmp_path / "lib")
    expected = run(driver, pair.original, plain, library=pair.original)
    assert run(driver, pair.original, other, library=pager) == expected


def test_a_guarded_library_finds_the_pager_by_its_own_path(
    pair: Twins, driver: Path, tmp_path: Path
) -> None:
    plain = compile_c(tmp_path / "libplain.so", PLAIN["signal"])
    expected = run(driver, pair.original, plain, library=pair.original)
    options = GuardOptions(pager_runpath="../../lib")
    other = guarded(plain, tmp_path / "python/alpha/libplain.so", options)
    missing = run(driver, pair.original, other, library=pair.original)
    assert (missing.code, PAGER_SONAME in missing.err) == (2, True)
    put_pager(tmp_path / "lib")
    assert run(driver, pair.original, other, library=pair.original) == expected
    # Where packed code has brought the pager along, from another folder, that is the one.
    assert run(driver, pair.packed, other, library=pair.packed) == expected


# A library's IFUNC resolver runs while the library is relocated: of its relocations, those of data
# are done, in part, and those of its PLT are not. There the test's program learns of packed code.
BEING_LOADED = f"""
#include <signal.h>
{WAITS_AS_IT_LOADS}
void take(int number) {{ signal(number, SIG_DFL); }}
"""
MEANWHILE = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
typedef uint64_t (*function)(int, uint64_t);
static void *later;
static void *open_later(void *path) { later = dlopen(path, RTLD_LAZY); return NULL; }
static function call_of(const char *path) {
    return (function)dlsym(dlopen(path, RTLD_NOW), "call");
}
int main(int argc, char **argv) {
    int told[2], go[2];
    pthread_t thread;
    function first, second, third;
    void (*take)(int);
    uint64_t sum = 0;
    char byte = 0;
    if (argc != 5 || pipe(told) || pipe(go) || dup2(told[1], 101) < 0 || dup2(go[0], 102) < 0)
        return 3;
    /* The pager knows the first, with which it came, at once, and each other at its first page. */
    first = call_of(argv[1]);
    second = call_of(argv[2]);
    third = call_of(argv[3]);
    pthread_create(&thread, NULL, open_later, argv[4]);
    if (read(told[0], &byte, 1) != 1) return 3;
    sum += second(1, 3);
    if (write(go[1], &byte, 1) != 1) return 3;
    pthread_join(thread, NULL);
    if (later == NULL) { fprintf(stderr, "%s\n", dlerror()); return 2; }
    take = (void (*)(int))dlsym(later, "take");
    /* By libc's function, as it is. */
    take(SIGUSR1);
    sum += third(1, 3);
    take(SIGSEGV);
    for (int i = 0; i < FUNCTIONS; i++) sum = sum * 31 + first(i, 3);
    printf("%lx\n", sum);
    return 0;
}
"""


@pytest.mark.parametrize("binding", ["-Wl,-z,lazy", "-Wl,-z,now"])
def test_a_library_seen_while_it_was_being_loaded_is_seen_again(
    pair: Twins, tmp_path: Path, binding: str
) -> None:
    """Not guarded: as with one that comes with the function, and asks for signals when it runs."""
    program = compile_program(tmp_path / "program", MEANWHILE)
    later = compile_c(tmp_path / "liblater.so", BEING_LOADED, binding)
    names = ("libone.so", "libtwo.so")
    # Without constructors, nothing of them is touched, nor known, before they are called.
    others = [
        compile_c(tmp_path / "original" / name, filler(100, seed=seed), "-nostartfiles")
        for seed, name in enumerate(names, start=1)
    ]
    for one in others:
        assert isinstance(pack(one, tmp_path / one.name, PackOptions(level=3)), PackResult)
    expected = run(program, pair.original, *others, later, library=pair.original)
    assert (expected.code, expected.err) == (0, "")
    packed = [pair.packed, *(tmp_path / name for name in names)]
    assert run(program, *packed, later, library=pair.packed) == expected


# The only function of signals that this program has is one whose address it takes.
ADDRESS_TAKEN = r"""
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
static void taken(int number) { if (write(1, "taken\n", 6) < 0) _exit(1); _exit(number); }
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    uint64_t (*call)(int, uint64_t), sum = 0;
    __sighandler_t (*volatile set)(int, __sighandler_t) = signal;
    if (library == NULL) return 2;
    call = (uint64_t (*)(int, uint64_t))dlsym(library, "call");
    set(SIGSEGV, taken);
    for (int i = 0; i < FUNCTIONS; i++) sum = sum * 31 + call(i, 3);
    printf("%lx\n", sum);
    return 0;
}
"""


def test_a_program_at_a_fixed_address_takes_no_page_in_away(pair: Twins, tmp_path: Path) -> None:
    # A program; of the two, the last counts for gcc.
    options = ("-pie", "-no-pie", "-fno-pic", "-ldl")
    program = compile_c(tmp_path / "program", ADDRESS_TAKEN, *options)
    assert "EXEC" in readelf(program, "-h")
    expected = run(program, pair.original, library=pair.original)
    assert (expected.code, expected.err) == (0, "")
    assert run(program, pair.packed, library=pair.packed) == expected


THIRD = "int third(void) {{ return {}; }}"
SECOND = "\n#include <signal.h>\nint third(void);\n"
SECOND += "int second(void) { signal(SIGUSR1, SIG_IGN); return third(); }\n"
FIRST = "int second(void); int first(void) { return second(); }"
CALLS = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL || argc != 3) { fprintf(stderr, "%s\n", dlerror()); return 2; }
    printf("%d\n", ((int (*)(void))dlsym(library, argv[2]))());
    return 0;
}
"""


def rewrite(how: str, path: Path, *, inherits_rpath: bool = False) -> None:
    """Pack or guard a library, which then finds the pager in `../lib`."""
    if how == "packed":
        options = PackOptions(level=3, pager_runpath="../lib", inherits_rpath=inherits_rpath)
        assert isinstance(pack(path, path, options), PackResult)
    else:
        guarded(path, path, GuardOptions(pager_runpath="../lib", inherits_rpath=inherits_rpath))


def result_of(program: Path, library: Path, name: str, search: Path | None) -> Run:
    """Run a program with this search path of the environment's, or none."""
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if search is not None:
        env["LD_LIBRARY_PATH"] = str(search)
    done = subprocess.run(
        [program, library, name], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return Run(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize("how", ["packed", "guarded"])
def test_ld_library_path_goes_before_the_new_search_path(tmp_path: Path, how: str) -> None:
    """As it did before the library had one: a DT_RPATH would be searched first."""
    program = compile_program(tmp_path / "program", CALLS)
    put_pager(tmp_path / "lib")
    compile_c(tmp_path / "lib/libthird.so", THIRD.format(1))
    preferred = compile_c(tmp_path / "preferred/libthird.so", THIRD.format(2)).parent
    more = filler() if how == "packed" else ""
    links = (f"-L{preferred}", "-lthird")
    second = compile_c(tmp_path / "alpha/libsecond.so", more + SECOND, *links)
    before = result_of(program, second, "second", preferred)
    assert before == Run(code=0, out="2\n", err="")
    rewrite(how, second)
    assert result_of(program, second, "second", preferred) == before
    assert result_of(program, second, "second", None).out == "1\n"


@pytest.mark.parametrize("how", ["packed", "guarded"])
def test_what_was_found_by_an_inherited_rpath_still_is(tmp_path: Path, how: str) -> None:
    """The first has a DT_RPATH; by it the second's needs are found, unless a DT_RUNPATH of the
    second's own turns it off."""
    program = compile_program(tmp_path / "program", CALLS)
    put_pager(tmp_path / "lib")
    third = compile_c(tmp_path / "vendored/libthird.so", THIRD.format(3)).parent
    more = filler() if how == "packed" else ""
    second = compile_c(tmp_path / "alpha/libsecond.so", more + SECOND, f"-L{third}", "-lthird")
    first = compile_c(
        tmp_path / "alpha/libfirst.so",
        FIRST,
        f"-L{second.parent}",
        "-lsecond",
        f"-Wl,-rpath-link,{third}",
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../vendored",
    )
    before = result_of(program, first, "first", None)
    assert before == Run(code=0, out="3\n", err="")
    plain = second.read_bytes()
    rewrite(how, second, inherits_rpath=True)
    assert result_of(program, first, "first", None) == before
    second.write_bytes(plain)
    rewrite(how, second)
    done = result_of(program, first, "first", None)
    assert (done.code, "libthird.so: cannot open" in done.err) == (2, True)


def test_a_fork_while_the_reserve_is_let_go(pair: Twins, tmp_path: Path) -> None:
    """Memory that came to lie where the pager's reserve was is not the child's to unmap."""
    source = (HERE / "fork_in_need.c").read_text()
    program = compile_program(tmp_path / "program", source)
    expected = run(program, pair.original, library=pair.original)
    assert expected.code != 77, "this test needs seccomp notifications: Linux 5.0 or later"
    done = run(program, pair.packed, library=pair.packed)
    first, child, last = done.out.splitlines()
    assert (done.code, [first, last]) == (expected.code, expected.out.splitlines())
    # The child has no memory left, and says so, rather than to take what is not the pager's.
    assert child == f"child: signal {int(signal.SIGABRT)}, code 0"
    assert done.err.startswith(f"layerpack: {pair.packed}: not enough memory to load its code")
    assert done.err.count("\n") == 1
