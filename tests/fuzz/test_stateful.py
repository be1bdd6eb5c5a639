"""A program with packed libraries answers as with the original ones, whatever it does.

Two players (player.c), one with each, are told the same: to load, to touch code by random threads,
to start processes, to send signals, to take rights away. After each step both must have given the
same answer. Hypothesis chooses the steps, and makes those that fail few.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from layerpack.elf.pack import PackOptions
from tests.fuzz.seconds import seconds
from tests.support.twins import Twins, compile_c, compile_program, filler, pack_twin

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(seconds(60) + 900)]

FUNCTIONS: Final = 400
LIBRARIES: Final = 3
THREADS: Final = 4
#: Pages of code that each library has at least.
_PAGES: Final = 40
_ADDRESS: Final = "\nvoid *address(int i) { return (void *)all[i]; }\n"
_LONGEST_ANSWER: Final = 60.0

libraries = st.integers(0, LIBRARIES - 1)
threads = st.integers(0, THREADS - 1)
functions = st.integers(0, FUNCTIONS - 1)
several = st.lists(functions, min_size=1, max_size=20)
options = st.builds(
    PackOptions,
    level=st.sampled_from([1, 3]),
    window_size=st.sampled_from([4096, 8192, 65536]),
    hot=st.lists(st.integers(0, _PAGES - 1), unique=True, max_size=12).map(tuple),
    mapped=st.booleans(),
)


class Player:
    """The program, started with some libraries."""

    def __init__(self, program: Path, paths: list[Path]) -> None:
        self._process = subprocess.Popen(
            [program, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LD_LIBRARY_PATH": str(paths[0].parent)},
        )

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its answer tells that it has ended

    def answer(self) -> str:
        """Its answer to the last line, or how it ended; what hangs is ended."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _LONGEST_ANSWER)[0]:
            return f"no answer; {self.end(kill=True)}"
        line = self._process.stdout.readline().decode()
        return line or self.end()

    def end(self, *, kill: bool = False) -> str:
        """How it ends when there are no more lines."""
        if kill:
            self._process.kill()
        out, err = self._process.communicate(timeout=_LONGEST_ANSWER)
        return f"{self._process.returncode} {out.decode()!r} {err.decode()!r}"


class Paging(RuleBasedStateMachine):
    """What programs do to their libraries; `folder` is set by the test."""

    folder: Path

    @initialize(packed=st.tuples(*[options] * LIBRARIES))
    def start(self, packed: tuple[PackOptions, ...]) -> None:
        program = _program(self.folder)
        pairs = [_pair(self.folder, number, one) for number, one in enumerate(packed)]
        # In one folder, as the layer has them: each with its own options.
        self.plain = Player(program, [pair.original for pair in pairs])
        self.paged = Player(program, [pair.packed for pair in pairs])
        self.open: set[int] = set()

    def _both(self, line: str) -> None:
        for player in (self.plain, self.paged):
            player.tell(line)
        expected, found = self.plain.answer(), self.paged.answer()
        assert found == expected, line

    def _needs(self, library: int) -> None:
        if library not in self.open:
            self._both(f"open {library}")
            self.open.add(library)

    @rule(library=libraries)
    def load(self, library: int) -> None:
        self._needs(library)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def unload(self, data: st.DataObject) -> None:
        library = data.draw(st.sampled_from(sorted(self.open)))
        self._both(f"close {library}")
        self.open.remove(library)

    @rule(thread=threads, library=libraries, touched=several, masked=st.booleans())
    def touch(self, thread: int, library: int, touched: list[int], *, masked: bool) -> None:
        self._needs(library)
        self._both(f"{'masked' if masked else 'touch'} {thread} {library} {_joined(touched)}")

    @rule(library=libraries, seed=st.integers(0, 1000), count=st.integers(1, 60))
    def touch_by_all_threads(self, library: int, seed: int, count: int) -> None:
        self._needs(library)
        self._both(f"burst {library} {seed} {count}")

    @rule(
        way=st.sampled_from(["fork", "vfork", "clone", "spawn"]),
        library=libraries,
        touched=several,
    )
    def start_a_process(self, way: str, library: int, touched: list[int]) -> None:
        self._needs(library)
        self._both(f"process {way} {library} {_joined(touched)}")

    @rule(
        thread=threads,
        number=st.sampled_from([signal.SIGUSR1, signal.SIGSEGV, signal.SIGBUS]),
        on_stack=st.booleans(),
        library=libraries,
        by_handler=functions,
        touched=several,
    )
    def interrupt_a_thread(
        self,
        thread: int,
        number: int,
        library: int,
        by_handler: int,
        touched: list[int],
        *,
        on_stack: bool,
    ) -> None:
        self._needs(library)
        flags = 0x08000000 if on_stack else 0  # SA_ONSTACK
        line = f"interrupt {thread} {number:d} {flags} {by_handler} {library} {_joined(touched)}"
        self._both(line)

    @rule(library=libraries, which=functions)
    def take_rights_away(self, library: int, which: int) -> None:
        self._needs(library)
        self._both(f"protect {library} {which}")

    @rule()
    def meet_a_null_pointer(self) -> None:
        self._both("null")

    @rule()
    def execute_itself(self) -> None:
        self._both("exec")
        self.open = set()

    def teardown(self) -> None:
        if hasattr(self, "plain"):
            assert (self.plain.end(), self.paged.end()) == ("0 '' ''",) * 2


def _joined(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


@lru_cache
def _program(folder: Path) -> Path:
    source = Path(__file__).with_name("player.c").read_text()
    define = f"#define FUNCTIONS {FUNCTIONS}\n"
    return compile_program(folder / "player", f"#undef FUNCTIONS\n{define}{source}")


@lru_cache
def _original(folder: Path, number: int) -> Path:
    source = filler(FUNCTIONS, seed=number) + _ADDRESS
    return compile_c(folder / "original" / f"lib{number}.so", source)


@lru_cache(maxsize=1000)
def _pair(folder: Path, number: int, one: PackOptions) -> Twins:
    place = folder / f"packed-{number}-{abs(hash(one))}"
    return pack_twin(_original(folder, number), place, one)


def test_whatever_a_program_does(tmp_path: Path) -> None:
    machine = type("Paging", (Paging,), {"folder": tmp_path})
    settings = hypothesis.settings(
        max_examples=20,
        stateful_step_count=40,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    end = time.monotonic() + seconds(60)
    while time.monotonic() < end:
        run_state_machine_as_test(machine, settings=settings)
