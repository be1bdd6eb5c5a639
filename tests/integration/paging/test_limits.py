"""Packed libraries in processes that may do less than others, or are odd ones."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from layerpack.elf.pack import PackOptions
from tests.support.twins import (
    FUNCTIONS,
    Twins,
    compile_c,
    compile_program,
    filler,
    pack_twin,
    run,
    run_python,
    twins,
)

OPTIONS = PackOptions(level=3, window_size=16384)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins(tmp_path_factory.mktemp("pair"), "", options=OPTIONS)


def test_a_limit_on_data_leaves_room_for_code(pair: Twins) -> None:
    code = f"""
import ctypes, re, resource, sys
library = ctypes.CDLL(sys.argv[1])
size = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (size, size))
total = 0
for n in range({FUNCTIONS}): total ^= library.call(n, 7)
print(total)
"""
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert run_python(code, pair.packed) == expected


FORBIDDEN = r"""
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (library == NULL) return 2;
    uint64_t (*call)(int, uint64_t) = (uint64_t (*)(int, uint64_t))dlsym(library, "call");
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    call(FUNCTIONS - 1, 1);
    puts("called");
    return 0;
}
"""


def test_what_the_system_forbids_is_not_called_a_lack_of_memory(
    pair: Twins, tmp_path: Path
) -> None:
    program = compile_program(tmp_path / "program", FORBIDDEN)
    assert run(program, pair.original, library=pair.original).out == "called\n"
    done = run(program, pair.packed, library=pair.packed)
    assert (done.code, done.out) == (-signal.SIGABRT, "")
    told = f"layerpack: {pair.packed}: the system does not let its code be loaded; "
    assert told in done.err


def test_the_first_process_of_a_namespace_ignores_what_is_sent(pair: Twins) -> None:
    """By default, as the kernel sees to it; code comes in as before."""
    code = f"""
import ctypes, os, signal, sys
library = ctypes.CDLL(sys.argv[1])
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
if ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0: sys.exit(77)
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGSEGV)
    total = 0
    for n in range({FUNCTIONS}): total ^= library.call(n, 7)
    print(os.getpid(), total, flush=True)
    os._exit(0)
print(os.wait()[1])
"""
    expected = run_python(code, pair.original)
    assert expected.code == 0
    assert expected.out.startswith("1 ")
    assert run_python(code, pair.packed) == expected


# Its handler is called before the pager's, as it was registered first.
FORK_HANDLER = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static uint64_t (*call)(int, uint64_t), (*other)(int, uint64_t);
static uint64_t found;
static _Atomic int started;
static pthread_t thread;
static uint64_t all(uint64_t (*one)(int, uint64_t)) {
    uint64_t sum = 0;
    for (int i = 0; i < FUNCTIONS; i++) sum = sum * 31 + one(i, 7);
    return sum;
}
static void *body(void *unused) { started = 1; found = all(call); return unused; }
static void in_child(void) {
    pthread_create(&thread, NULL, body, NULL);
    while (!started) sched_yield();
}
int main(int argc, char **argv) {
    int wrong = 0;
    pthread_atfork(NULL, NULL, in_child);
    void *first = dlopen(argv[1], RTLD_NOW), *second = dlopen(argv[2], RTLD_NOW);
    if (argc != 3 || first == NULL || second == NULL) return 2;
    call = (uint64_t (*)(int, uint64_t))dlsym(first, "call");
    other = (uint64_t (*)(int, uint64_t))dlsym(second, "call");
    for (int i = 0; i < 60; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            uint64_t sum = all(other);
            pthread_join(thread, NULL);
            _exit(sum != found);
        }
        waitpid(child, &status, 0);
        wrong += status != 0;
    }
    printf("%d wrong\n", wrong);
    return 0;
}
"""


def test_a_thread_that_a_fork_handler_begins_keeps_its_locks(pair: Twins, tmp_path: Path) -> None:
    other = compile_c(tmp_path / "original/libother.so", filler())
    program = compile_program(tmp_path / "program", FORK_HANDLER)
    second = pack_twin(other, pair.packed.parent, OPTIONS).packed
    done = run(program, pair.packed, second, library=pair.packed)
    assert (done.code, done.out, done.err) == (0, "0 wrong\n", "")
