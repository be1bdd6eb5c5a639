"""Faults of several threads and processes at once: none waits for another for ever."""

from __future__ import annotations

import platform
import shutil
import signal
from pathlib import Path

import pytest

from layerpack.elf.drops import Drops
from layerpack.elf.pack import PackOptions
from tests.integration.paging.test_integrity import frames_offset
from tests.support.symbols import symbols
from tests.support.twins import (
    WAITS_AS_IT_LOADS,
    Run,
    compile_c,
    compile_program,
    filler,
    pack_twin,
    run,
    twins,
)

# Its child meets damaged code, and so does it afterwards.
VFORK = r"""
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (library == NULL) return 2;
    uint64_t (*call_all)(uint64_t) = (void *)dlsym(library, "call_all");
    int status = 0;
    alarm(20);
    pid_t child = HOW();
    if (child == 0) { call_all(3); _exit(0); }
    waitpid(child, &status, 0);
    printf("%d\n", status & 127);
    fflush(stdout);
    call_all(3);
    return 0;
}
"""


@pytest.mark.parametrize("how", ["fork", "vfork"])
def test_a_child_and_its_parent_both_tell_of_damage(tmp_path: Path, how: str) -> None:
    pair = twins(tmp_path, "", options=PackOptions(level=3))
    data = bytearray(pair.packed.read_bytes())
    found, start = frames_offset(bytes(data))
    for window in found.windows[1:-1]:
        data[start + window.offset + window.size // 2] ^= 0x10
    pair.packed.write_bytes(data)
    program = compile_program(tmp_path / "program", VFORK.replace("HOW", how))
    done = run(program, pair.packed, library=pair.packed)
    assert (done.code, done.out) == (-signal.SIGABRT, f"{signal.SIGABRT:d}\n")
    assert done.err.count("its compressed code is damaged") == 2


# The child of vfork ends within a page-in, by seccomp, at the call that puts a window in its place.
# It is a zombie, of the parent's, while the parent needs the locks that it held.
ZOMBIES = r"""
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void die_in_place(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(3);
}
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (library == NULL) return 2;
    uint64_t (*call)(int, uint64_t) = (uint64_t (*)(int, uint64_t))dlsym(library, "call");
    uint64_t (*call_all)(uint64_t) = (uint64_t (*)(uint64_t))dlsym(library, "call_all");
    alarm(40);
    /* As many as may page in at one time. */
    for (int i = 0; i < CONTEXTS; i++) {
        pid_t child = vfork();
        if (child == 0) { die_in_place(); call(100 + 50 * i, 3); _exit(0); }
        siginfo_t info;
        waitid(P_PID, child, &info, WEXITED | WNOWAIT);
        printf("%d\n", info.si_code == CLD_EXITED ? 0 : info.si_status);
    }
    printf("%lx\n", (long)call_all(3));
    return 0;
}
"""


def test_locks_of_a_zombie_are_taken_over(tmp_path: Path) -> None:
    contexts = 8
    pair = twins(tmp_path, "", options=PackOptions(level=3, window_size=8192))
    program = compile_program(tmp_path / "program", ZOMBIES.replace("CONTEXTS", str(contexts)))
    *ended, answer = run(program, pair.original, library=pair.original).out.splitlines()
    assert ended == ["0"] * contexts
    done = run(program, pair.packed, library=pair.packed)
    killed = [f"{signal.SIGSYS:d}"] * contexts
    assert (done.code, done.out.splitlines()) == (0, [*killed, answer])


# An instruction that faults by itself as code does that was left out (pager/format.h).
FAULTS = r"""
#if defined(__x86_64__)
#define FAULT "hlt"
#else
#define FAULT "adr x16, .\n br xzr"
#endif
__attribute__((noinline)) void faults(void) { __asm__ volatile(FAULT); }
void run_it(void) { faults(); }
"""
PROGRAM = r"""
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static void taken(int number) { printf("taken %d\n", number); fflush(stdout); _exit(5); }
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (library == NULL) return 2;
    alarm(20);
    signal(SIGSEGV, taken);
    ((void (*)(void))dlsym(library, "run_it"))();
    return 0;
}
"""


@pytest.mark.exhaustive
def test_an_instruction_that_faults_as_left_out_code_does_is_the_programs(tmp_path: Path) -> None:
    original = compile_c(tmp_path / "original/libtwin.so", filler() + FAULTS, "-O1")
    program = compile_program(tmp_path / "program", PROGRAM)
    expected = run(program, original, library=original)
    assert expected == Run(code=5, out="taken 11\n", err="")
    options = PackOptions(level=3, drops=Drops(probes=probes_at(original, "faults")))
    packed = pack_twin(original, tmp_path / "packed", options).packed
    assert run(program, packed, library=packed) == expected


def probes_at(library: Path, name: str) -> tuple[int, ...]:
    """A probe on the HLT of a function; none for aarch64, which has no probes."""
    if platform.machine() != "x86_64":
        return ()
    start = symbols(library)[name].start
    # Behind `endbr64`, where there is one: the probe is on the instruction itself.
    code = library.read_bytes()
    return (next(i for i in range(start, start + 16) if code[i : i + 1] == b"\xf4"),)


# The loader relocates a library's needs before itself: while that of `other` waits, `later` is
# mapped and not relocated. It then fails to load, as it lacks a function.
FAILS = "\nextern int lacking(void); int use(void) { return lacking(); }\n"
MEANWHILE = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static sigjmp_buf back;
static void *opened;
static void leave(int number) { siglongjmp(back, number); }
static void *open_later(void *path) { opened = dlopen(path, RTLD_NOW); return NULL; }
int main(int argc, char **argv) {
    int told[2], go[2];
    pthread_t thread;
    char byte = 0;
    if (argc != 4 || pipe(told) || pipe(go) || dup2(told[1], 101) < 0 || dup2(go[0], 102) < 0)
        return 3;
    void *first = dlopen(argv[1], RTLD_NOW);
    if (first == NULL) return 2;
    signal(SIGSEGV, leave);
    pthread_create(&thread, NULL, open_later, argv[2]);
    if (read(told[0], &byte, 1) != 1) return 3;
    if (sigsetjmp(back, 1) == 0) *(volatile char *)(uintptr_t)NULL = 1;
    if (write(go[1], &byte, 1) != 1) return 3;
    pthread_join(thread, NULL);
    printf("opened %d\n", opened != NULL);
    /* It lies where that one was, and is laid out in another way. */
    void *third = dlopen(argv[3], RTLD_NOW);
    if (third == NULL) { printf("%s\n", dlerror()); return 2; }
    signal(SIGSEGV, SIG_DFL);
    uint64_t (*call_all)(uint64_t) = (void *)dlsym(third, "call_all");
    printf("%lx\n", call_all(3));
    return 0;
}
"""


@pytest.mark.exhaustive
def test_a_null_pointer_while_a_library_is_being_loaded(tmp_path: Path) -> None:
    first = twins(tmp_path / "first", "", options=PackOptions(level=3))
    other = compile_c(tmp_path / "libother.so", WAITS_AS_IT_LOADS)
    needs = ("-Wl,--no-as-needed", str(other), f"-Wl,-rpath,{tmp_path}")
    later = compile_c(tmp_path / "original/liblater.so", filler(seed=1) + FAILS, *needs)
    third = compile_c(tmp_path / "original/libthird.so", filler(400, seed=2))
    program = compile_program(tmp_path / "program", MEANWHILE)
    expected = run(program, first.original, later, third, library=first.original)
    assert (expected.code, expected.out.splitlines()[0]) == (0, "opened 0")
    folder = tmp_path / "packed"
    packed = [pack_twin(one, folder).packed for one in (later, third)]
    shutil.copy(other, folder)
    assert run(program, first.packed, *packed, library=first.packed) == expected
