"""Faults while another thread holds the lock that the loader's list of libraries is read under.

The thread is in a callback of dl_iterate_phdr until the fault is dealt with. After fork, that
thread does not exist in the child, and the lock is never released there.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from layerpack.elf.pack import PackOptions
from tests.support.twins import Run, Twins, compile_c, filler, pack_twin, run

FIRST = 200
FAULTS = list(product(("fork", "vfork", "thread"), ("call", "crash")))
# Not packed: its import of `signal` is pointed at the pager's when the loader can be asked again.
PLAIN = r"""
#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(number); }
int install(void) { return signal(SIGSEGV, end) == SIG_ERR; }
"""

# `first` brings the pager; of `second`, nothing has run yet.
PROGRAM = r"""
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static int inside[2], go[2];
static uint64_t (*call_all)(uint64_t);
static int hold(struct dl_phdr_info *object, size_t size, void *unused) {
    char byte = 0;
    if (write(inside[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(9);
    (void)object; (void)size; (void)unused;
    return 1;
}
static void *holder(void *unused) { dl_iterate_phdr(hold, NULL); return unused; }
static void fault(const char *what) {
    if (strcmp(what, "call") == 0) {
        printf("%lx\n", (long)call_all(3));
        fflush(stdout);
    } else {
        char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *(volatile char *)page = 1;
    }
}
int main(int argc, char **argv) {
    pthread_t thread;
    char byte = 0;
    int status = 0;
    if (argc != 6 || pipe(inside) || pipe(go)) return 3;
    void *first = dlopen(argv[1], RTLD_NOW), *second = dlopen(argv[2], RTLD_NOW);
    void *plain = dlopen(argv[3], RTLD_NOW);
    if (first == NULL || second == NULL || plain == NULL) return 2;
    uint64_t (*call_first)(int, uint64_t) = (uint64_t (*)(int, uint64_t))dlsym(first, "call");
    int (*install)(void) = (int (*)(void))dlsym(plain, "install");
    call_all = (uint64_t (*)(uint64_t))dlsym(second, "call_all");
    pthread_create(&thread, NULL, holder, NULL);
    if (read(inside[0], &byte, 1) != 1) return 3;
    alarm(20);
    if (strcmp(argv[4], "thread") == 0) {
        fault(argv[5]);
    } else {
        pid_t child = strcmp(argv[4], "fork") == 0 ? fork() : vfork();
        if (child == 0) { alarm(10); fault(argv[5]); _exit(0); }
        waitpid(child, &status, 0);
    }
    if (write(go[1], &byte, 1) != 1) return 3;
    pthread_join(thread, NULL);
    printf("status %d, %lx %lx\n", status, (long)call_all(4), (long)call_first(FIRST / 2, 4));
    if (install()) return 4;
    for (int i = 0; i < FIRST; i++) call_first(i, 4);
    puts("called");
    return 0;
}
"""

# Another thread takes the lock, if it can be had, at the moment when the fault asks the loader.
CROSSING = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
typedef int visitor(struct dl_phdr_info *, size_t, void *);
static int (*real)(visitor *, void *), over[2];
static _Atomic int armed, crossing, thread;
static int hold(struct dl_phdr_info *object, size_t size, void *unused) {
    struct pollfd file = {.fd = over[0], .events = POLLIN};
    if (poll(&file, 1, 10000) != 1) _exit(9);
    (void)object; (void)size; (void)unused;
    return 1;
}
static void *holder(void *unused) {
    thread = syscall(SYS_gettid);
    while (!crossing) sched_yield();
    real(hold, NULL);
    return unused;
}
static int sleeps(void) {
    char path[64], line[128] = "";
    sprintf(path, "/proc/self/task/%d/stat", thread);
    int file = open(path, O_RDONLY);
    if (read(file, line, sizeof line - 1) < 1) _exit(8);
    close(file);
    return strrchr(line, ')')[2] == 'S';
}
int dl_iterate_phdr(visitor *visit, void *data) {
    if (atomic_exchange(&armed, 0)) {
        crossing = 1;
        while (!sleeps()) sched_yield();
    }
    return real(visit, data);
}
int main(int argc, char **argv) {
    pthread_t other;
    real = (int (*)(visitor *, void *))dlsym(RTLD_NEXT, "dl_iterate_phdr");
    if (argc != 3 || pipe(over)) return 3;
    void *first = dlopen(argv[1], RTLD_NOW), *second = dlopen(argv[2], RTLD_NOW);
    if (first == NULL || second == NULL) return 2;
    uint64_t (*call_all)(uint64_t) = (uint64_t (*)(uint64_t))dlsym(second, "call_all");
    pthread_create(&other, NULL, holder, NULL);
    while (!thread) sched_yield();
    armed = 1;
    printf("%lx\n", (long)call_all(3));
    fprintf(stderr, "%s\n", crossing ? "crossed" : "never asked");
    crossing = 1;
    if (write(over[1], "", 1) != 1) return 3;
    pthread_join(other, NULL);
    return 0;
}
"""


# Where /proc/PID/maps cannot be read: no descriptor is free, or the first thread has ended.
UNREAD = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
static pthread_barrier_t inside;
static char **words;
/* Whether the first thread is. */
static int is_there(void) {
    char byte;
    int file = open("/proc/self/maps", O_RDONLY);
    int is = read(file, &byte, 1) == 1;
    close(file);
    return is;
}
static int hold(struct dl_phdr_info *object, size_t size, void *unused) {
    pthread_barrier_wait(&inside);
    poll(NULL, 0, 300);
    (void)object; (void)size; (void)unused;
    return 1;
}
static void *holder(void *unused) { dl_iterate_phdr(hold, NULL); return unused; }
static void *work(void *is_first) {
    pthread_t thread;
    if (is_first == NULL) while (is_there()) sched_yield();
    void *first = dlopen(words[1], RTLD_NOW), *second = dlopen(words[2], RTLD_NOW);
    if (first == NULL || second == NULL) exit(2);
    uint64_t (*call)(int, uint64_t) = (uint64_t (*)(int, uint64_t))dlsym(first, "call");
    uint64_t (*call_all)(uint64_t) = (uint64_t (*)(uint64_t))dlsym(second, "call_all");
    call(0, 1);
    if (is_first != NULL) {
        struct rlimit none = {3, 3};
        setrlimit(RLIMIT_NOFILE, &none);
    }
    pthread_barrier_init(&inside, NULL, 2);
    pthread_create(&thread, NULL, holder, NULL);
    pthread_barrier_wait(&inside);
    printf("%lx\n", (long)call_all(3));
    pthread_join(thread, NULL);
    exit(0);
}
int main(int argc, char **argv) {
    pthread_t thread;
    words = argv;
    if (argc != 4) return 3;
    if (strcmp(argv[3], "full") == 0) work(&thread);
    pthread_create(&thread, NULL, work, NULL);
    pthread_exit(NULL);
}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Libraries:
    """`first` and `second`, as they were and packed, and what else `program` is given."""

    original: tuple[Path, Path]
    packed: tuple[Path, Path]
    plain: Path
    program: Path


def compiled(
    folder: Path, compiler: Callable[..., Path], packer: Callable[..., Twins]
) -> Libraries:
    """All that `program` takes, below `folder`."""
    original = (
        compiler(folder / "original/libfirst.so", filler(FIRST)),
        compiler(folder / "original/libsecond.so", filler(seed=1)),
    )
    options = PackOptions(level=3, window_size=8192)
    first, second = (packer(one, folder / "packed", options) for one in original)
    program = PROGRAM.replace("FIRST", str(FIRST))
    return Libraries(
        original=original,
        packed=(first.packed, second.packed),
        plain=compiler(folder / "libplain.so", PLAIN),
        program=compiler(folder / "program", program, "-pie", "-fPIE", "-ldl"),
    )


def check(libraries: Libraries, runner: Callable[..., Run], where: str, what: str) -> None:
    """Whether it is the same with packed libraries."""

    def results(pair: tuple[Path, Path]) -> Run:
        return runner(libraries.program, *pair, libraries.plain, where, what, library=pair[0])

    expected = results(libraries.original)
    # A sandbox tells a signal as a shell does.
    killed = (-signal.SIGSEGV, 128 + signal.SIGSEGV)
    assert expected.code in (killed if (where, what) == ("thread", "crash") else (0,))
    assert results(libraries.packed) == expected


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    return compiled(tmp_path_factory.mktemp("libraries"), compile_c, pack_twin)


@pytest.mark.parametrize(("where", "what"), FAULTS)
def test_a_fault_does_not_wait_for_the_loaders_lock(
    libraries: Libraries, where: str, what: str
) -> None:
    check(libraries, run, where, what)


def check_crossing(
    libraries: Libraries, compiler: Callable[..., Path], runner: Callable[..., Run], folder: Path
) -> None:
    """Whether another thread waits for the lock until the fault is dealt with."""
    program = compiler(folder / "crossing", CROSSING, "-pie", "-fPIE", "-rdynamic", "-ldl")
    plain, packed = (
        runner(program, *pair, library=pair[0]) for pair in (libraries.original, libraries.packed)
    )
    assert (plain.code, plain.err) == (0, "never asked\n")
    assert (packed.code, packed.out, packed.err) == (0, plain.out, "crossed\n")


def test_no_thread_takes_the_loaders_lock_while_a_fault_asks_the_loader(
    libraries: Libraries, tmp_path: Path
) -> None:
    check_crossing(libraries, compile_c, run, tmp_path)


@pytest.mark.parametrize("how", ["full", "ended"])
def test_the_loader_is_waited_for_where_the_kernel_does_not_tell(
    libraries: Libraries, tmp_path: Path, how: str
) -> None:
    program = compile_c(tmp_path / "program", UNREAD, "-pie", "-fPIE", "-ldl")
    plain, packed = (
        run(program, *pair, how, library=pair[0]) for pair in (libraries.original, libraries.packed)
    )
    assert plain.code == 0
    assert packed == plain
