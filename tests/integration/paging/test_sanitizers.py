"""The paging tests once more, with pagers that sanitizers check; and the pager under valgrind.

The pager runs in the programs of the other tests, with its own SIGSEGV handler, which the run-time
libraries of the sanitizers leave alone (`handle_segv=0`). Undefined behaviour traps: its run-time
library would print from a handler.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from layerpack.elf import format as elf
from layerpack.elf import index
from layerpack.elf.pack import PackOptions
from layerpack.elf.read import read
from tests.support import clang, twins
from tests.support.twins import compile_program, run

pytestmark = pytest.mark.sanitizers

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
_SIGNALS: Final = "test_signals.py::test_the_same_as_without_paging"
_STORM: Final = "test_pager.py::test_processes_that_start_in_a_storm_of_page_ins"
_UNWINDING: Final = "test_unwinding.py::test_an_address_of_packed_code_belongs_to_its_library"
_OPTIONS: Final = (
    "handle_segv=0:handle_sigbus=0:handle_abort=0:allow_user_segv_handler=1:use_sigaltstack=0"
)
#: What no program does with these run-time libraries in it, paged or not.
_IMPOSSIBLE: Final = {
    # They reserve terabytes of addresses.
    "test_pager.py::test_a_full_address_space_has_room_for_code",
    "test_pager.py::test_no_room_at_all_is_said_so",
    "test_guards.py::test_a_fork_while_the_reserve_is_let_go",
    "test_data.py::test_a_full_address_space_has_room_for_data",
    "test_limits.py::test_a_limit_on_data_leaves_room_for_code",
    # They come between a program and libc, and answer signal functions and dl_iterate_phdr first.
    "test_names.py::test_functions_of_other_libraries_are_left_alone",
    "test_loader_lock.py::test_no_thread_takes_the_loaders_lock_while_a_fault_asks_the_loader",
    # They come between a library and dlopen, which then does not know whose RUNPATH to search.
    *(f"{_UNWINDING}[here-{name}]" for name in ("gcc", "llvm")),
    # It compares the pager with the built one.
    "test_data.py::test_the_pager_is_there",
    # It starts a program by itself.
    "test_signals.py::test_killed_from_outside",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sanitizer:
    """How a pager is compiled, and what its run-time library is told; `impossible` tests of `files`
    are left out."""

    flags: tuple[str, ...]
    options: str
    impossible: set[str] = field(default_factory=set)
    files: tuple[str, ...] = (".",)


SANITIZERS: Final = {
    "asan": Sanitizer(
        # What never returns would have the stack cleared of its marks, and a page-in's is not known
        # to the run-time library, which says so on stderr.
        flags=(
            "-fsanitize=address,undefined",
            "-fsanitize-trap=undefined",
            "-D_Noreturn=",
            "-Wno-return-type",
        ),
        options=f"ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:{_OPTIONS}",
        # It warns of makecontext, with the process's number.
        impossible={f"{_SIGNALS}[contexts]"},
    ),
    "tsan": Sanitizer(
        flags=("-fsanitize=thread", "-include", str(Path(clang.__file__).with_name("tsan_shim.h"))),
        options=f"TSAN_OPTIONS=report_signal_unsafe=0:report_thread_leaks=0:die_after_fork=0:{_OPTIONS}:"
        f"suppressions={HERE / 'tsan.txt'}",
        impossible={
            # It delivers signals that are sent only when the thread next calls libc, by handlers of
            # its own, and asks the kernel for SA_RESTART in any case.
            *(f"{_SIGNALS}[{name}]" for name in ("full_mask", "interrupted", "interrupting")),
            *(f"{_SIGNALS}[{name}]" for name in ("nested_nodefer", "sent_often", "suspended")),
            *(f"{_SIGNALS}[{name}]" for name in ("sent_often_on_stack", "waits")),
            "test_signals.py::test_a_handler_that_was_there_before_may_block_all",
            "test_names.py::test_sigpause_of_two_arguments",
            # It does not see clone that a program calls by number: the child waits for the run-time
            # library's own locks. Its vfork is a fork, which shares no locks.
            f"{_STORM}[clone]",
            "test_races.py::test_locks_of_a_zombie_are_taken_over",
        },
        # Where several threads are.
        files=(
            *("test_pager.py", "test_races.py", "test_guards.py", "test_loader_lock.py"),
            *("test_signals.py", "test_left_out_probes.py", "test_loading.py"),
        ),
    ),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SANITIZERS)
def test_all_paging_tests(name: str, tmp_path: Path) -> None:
    sanitizer = SANITIZERS[name]
    options = (*sanitizer.flags, f"-I{clang.SOURCES}")
    shared = "-shared-libasan" if name == "asan" else "-shared-libsan"
    pager = clang.library(tmp_path, clang.decoder(tmp_path), options, shared)
    command = [sys.executable, "-m", "pytest", "-n", "2", "--timeout=200"]
    command += [str(HERE / file) for file in sanitizer.files]
    impossible = sorted(_IMPOSSIBLE | sanitizer.impossible)
    command += [f"--deselect={(HERE / test).relative_to(ROOT)}" for test in impossible]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            twins.PAGER: str(pager),
            twins.UNDER: f"env LD_PRELOAD={clang.runtime(name)} {sanitizer.options}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20000:]
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) > 90


def test_pages_are_read_under_valgrind(tmp_path: Path) -> None:
    """It translates code ahead of what is run, without a fault where that is not there: so pages
    come in by reads alone."""
    pair = twins.twins(tmp_path, "", options=PackOptions(level=3, window_size=16384))
    data = pair.packed.read_bytes()
    where = next(one for one in read(data).segments if one.type == elf.PT_LAYERPACK)
    ranges = index.read_index(data[where.offset : where.offset + where.filesz]).ranges
    words = [word for one in ranges for word in (f"{one.vaddr:#x}", str(one.pages))]
    program = compile_program(tmp_path / "reads", (HERE / "reads.c").read_text())
    valgrind = ["valgrind", "-q", "--fair-sched=yes", "--error-exitcode=99"]
    valgrind.append(f"--suppressions={HERE / 'valgrind.supp'}")
    done = run(*valgrind, program, pair.packed, pair.original, *words, library=pair.packed)
    pages = sum(one.pages for one in ranges)
    assert (done.code, done.out, done.err) == (0, f"{pages} pages, 0 wrong, child 0\n", "")
