"""Whether packed libraries answer as plain ones do: test suites and checks, run in both.

    python -m benchmarks.differential [numpy scipy ...] [--level 3] [--folder DIR] [--cpu avx2]

For each stack (benchmarks/stacks/table.py) wheels are installed plainly, and beside it as a twin
with all libraries bound and packed as a build does it; the same checks run in both at the same
time, and their outcomes are compared one by one. Tests that differ, or that one tree alone came
to, run once more in both, since those that depend on time or on the machine's load differ by
themselves. Ends with 1 if a difference is left, and where the packed tree alone crashed or hung,
even if it did not again. `--folder` keeps the plain trees for the next time.

`--cpu LEVEL[,LEVEL]` packs with that `cpu` key, and tells what is left out of which library. The
plain tree then runs with the variables that hold its libraries to what the packed ones run with on
this processor: the highest of these levels that it has. No variable holds BLIS, so that the bits
of its products are not compared then, and only that their errors are within the bounds of any order
of sums. Tests that tell what numpy has found of the processor differ, as the variables tell it to
find less; its test_cpu_features.py takes them away when it is imported, so that where they take
AVX2, test_simd.py does as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.stacks.results import MARK
from benchmarks.stacks.table import STACKS, Part
from layerpack.payload import is_library_name
from layerpack.processor_levels import LEVELS, Level, flags_here, lacking, variables
from layerpack.units import human_size
from tests.support.packed_trees import PYTHON, Packed, install, packed_twin

_REPOSITORY: Final = Path(__file__).parents[1]
#: So many differences are shown; all are counted.
_SHOWN: Final = 20
#: Address space of a process, in bytes: a test that asks for more fails in both trees alike.
_MEMORY: Final = 8 * 2**30
_LATE: Final = "stopped, time is up"
#: What `stacks.outcomes` writes first, and how it marks what is no test.
_BEGUN: Final = "begun"
_COLLECTION: Final = " (collection)"
#: pytest's codes where no test failed, and where some did.
_COMPLETE: Final = ("exit 0", "exit 1")
_ARCHITECTURE: Final = "arm64" if platform.machine() == "aarch64" else "x86_64"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A part that ended in a tree: how, after how many seconds, with which outcomes by check."""

    outcomes: Mapping[str, str]
    seconds: float
    ended: str

    def begun(self) -> list[str]:
        """Tests that have no outcome, as the process ended in them."""
        return [one for one, outcome in self.outcomes.items() if outcome == _BEGUN]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trees:
    """`held` are variables of the plain tree alone, which keep it at the packed one's level."""

    plain: Path
    packed: Path
    environment: Mapping[str, str]
    held: Mapping[str, str]


def main() -> int:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stacks", nargs="*", metavar="STACK", help=f"of {', '.join(STACKS)}")
    parser.add_argument("--level", type=int, default=3, help="of zstd (default: 3, for speed)")
    parser.add_argument("--folder", type=Path, help="where plain trees are kept")
    parser.add_argument("--patience", type=float, default=1, help="all time bounds times this")
    parser.add_argument("--only", metavar="PART[,PART]", help="run only the parts of these names")
    cpu = parser.add_argument("--cpu", type=_levels, default=(), metavar="LEVEL[,LEVEL]")
    cpu.help = f"leave out kernels for other levels of {', '.join(LEVELS[_ARCHITECTURE])}"
    arguments = parser.parse_args()
    unknown = set(arguments.stacks) - STACKS.keys()
    if unknown:
        parser.error(f"no such stack: {', '.join(sorted(unknown))}; there are {', '.join(STACKS)}")
    different = 0
    for name in arguments.stacks or STACKS:
        place = {"prefix": ".layerpack-differential-", "dir": arguments.folder}
        with tempfile.TemporaryDirectory(**place) as scratch:
            kept = arguments.folder or Path(scratch)
            trees = _trees(name, kept, Path(scratch), level=arguments.level, cpu=arguments.cpu)
            for part in STACKS[name].parts:
                if arguments.only and part.name not in arguments.only.split(","):
                    continue
                if arguments.cpu and not part.held:
                    print(f"  {part.name}: no variable holds the plain tree to the packed one's")
                else:
                    bound = replace(part, seconds=part.seconds * arguments.patience)
                    different += _compare(bound, trees, Path(scratch))
    print(f"{different} differences")
    return 1 if different else 0


def _levels(text: str) -> tuple[Level, ...]:
    """Levels of this processor's architecture, at least one of which it has."""
    levels = tuple(one for one in LEVELS[_ARCHITECTURE] if one in text.split(","))
    if set(levels) != set(text.split(",")):
        raise argparse.ArgumentTypeError(f"not all levels of {_ARCHITECTURE}: {text}")
    if not _had(levels):
        raise argparse.ArgumentTypeError(f"this processor has none of {text}")
    return levels


def _had(levels: Iterable[Level]) -> list[Level]:
    """Those of some levels that this processor has, the lowest first."""
    flags = flags_here()
    return [one for one in LEVELS[_ARCHITECTURE] if one in levels and not lacking(one, flags)]


def _trees(name: str, kept: Path, scratch: Path, *, level: int, cpu: Sequence[Level]) -> _Trees:
    plain, stack = kept / name, STACKS[name]
    if not plain.exists():
        aside = kept / f".{name}-new"
        shutil.rmtree(aside, ignore_errors=True)
        install(aside, stack.requirements)
        if stack.prepare is not None:
            stack.prepare(aside)
        aside.rename(plain)
    started = time.perf_counter()
    warnings: list[str] = []
    libraries = packed_twin(plain, scratch / "packed", level=level, cpu=cpu, warn=warnings.append)
    seconds = time.perf_counter() - started
    if all(one.reason is not None for one in libraries):
        sys.exit(f"{name}: no library is packed, so there is nothing to compare")
    # Numbers differ from file to file.
    left = Counter(re.sub(r"\d+", "few", one.reason) for one in libraries if one.reason)
    before = sum(one.original_bytes for one in libraries)
    after = sum(one.packed_bytes for one in libraries)
    print(
        f"{name}: {len(libraries)} libraries, {human_size(before)}; "
        f"{len(libraries) - left.total()} packed in {seconds:.0f} s, then {human_size(after)}"
    )
    for reason, count in left.most_common():
        print(f"  {count} left alone: {reason}")
    for text in warnings:
        print(f"  {text}")
    held: dict[str, str] = {}
    if cpu:
        _print_left_out(libraries)
        held = variables(_had(cpu)[-1], (x for x in plain.rglob("*") if is_library_name(x.name)))
        print(f"  plain runs with {held}")
    packed = scratch / "packed"
    return _Trees(plain=plain, packed=packed, environment=stack.environment, held=held)


def _print_left_out(libraries: Iterable[Packed]) -> None:
    """What each library lost, and which of its variants stay and go, with the code of each."""
    for one in libraries:
        parts = one.record.parts if one.record else ()
        if one.record is None or not parts:
            continue
        print(f"  {one.path}: {one.record.dropped_bytes:,} bytes of code are left out")
        for word, kept in (("stay", True), ("go", False)):
            told = (f"{part.name} {part.code_bytes:,}" for part in parts if part.kept == kept)
            print(f"    {word}: {', '.join(told) or 'none'}")


def _compare(part: Part, trees: _Trees, scratch: Path) -> int:
    """Run a part in both trees at the same time; how many outcomes differ for good."""
    plain, packed = _both(part, trees, scratch)
    names = plain.outcomes.keys() | packed.outcomes.keys()
    differing = sorted(name for name in names if not _equal(name, plain, packed))
    common = plain.outcomes.keys() & packed.outcomes.keys() - {*plain.begun(), *packed.begun()}
    kinds = Counter(_kind(packed.outcomes[one]) for one in common)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(
        f"  {part.name}: {len(common)} checks ({told}), {len(differing)} differ; "
        f"plain {plain.seconds:.0f} s, {plain.ended}; packed {packed.seconds:.0f} s, {packed.ended}"
    )
    for tree, run in (("plain", plain), ("packed", packed)):
        if begun := run.begun():
            print(f"    {tree}: {run.ended} in {', '.join(begun)}")
    # Said of the first run too: what a second one does not do again was there all the same.
    apart = _ended_apart(plain, packed, differing)
    again, first = differing, (plain, packed)
    # By name: a run of those alone is short. It would be none at all with names that a tree does
    # not have, as one that came to the end without them.
    whole = [run.outcomes for run in first if run.ended in _COMPLETE]
    once_more = [one for one in differing if all(one in outcomes for outcomes in whole)]
    if once_more and part.module is None:
        plain, packed = _both(part, trees, scratch, once_more)
        still = [one for one in once_more if not _equal(one, plain, packed)]
        apart = apart or _ended_apart(plain, packed, still)
        again = still + sorted(set(differing) - set(once_more))
        print(
            f"    run again: {len(still)} of {len(once_more)} differ; "
            f"plain {plain.seconds:.0f} s, {plain.ended}; "
            f"packed {packed.seconds:.0f} s, {packed.ended}"
        )
    for one in again[:_SHOWN]:
        left, right = (
            last.outcomes.get(one) or before.outcomes.get(one, "not run")
            for before, last in zip(first, (plain, packed), strict=True)
        )
        print(f"    {one}\n      plain:  {left}\n      packed: {right}")
    if apart:
        print("    the packed tree's process ended otherwise than the plain one's: a difference")
    if not common:
        print("    no check ended in both: a difference")
    if again and _LATE in {plain.ended, packed.ended}:
        print("    time was up: --patience 2 gives twice as much")
    sys.stdout.flush()
    return len(again) or int(apart or not common)


def _kind(outcome: str) -> str:
    """A word for the table: pytest's, or that it was a digest or an exception."""
    if outcome.startswith(MARK):
        return "exceptions"
    return outcome if "passed" in outcome else outcome.split(" in ", 1)[0]


def _equal(name: str, plain: _Run, packed: _Run) -> bool:
    """Whether a check was run in both trees and came out the same."""
    return name in plain.outcomes and plain.outcomes[name] == packed.outcomes.get(name)


def _ended_apart(plain: _Run, packed: _Run, differing: Sequence[str]) -> bool:
    """Whether the packed tree's process ended otherwise than outcomes that differ explain.

    They do where both came to pytest's end, or where only the plain one was out of time: then each
    test that it did not come to is among them.
    """
    if plain.ended == packed.ended:
        return False
    explained = packed.ended in _COMPLETE and plain.ended in {*_COMPLETE, _LATE}
    return not (explained and differing)


def _both(part: Part, trees: _Trees, scratch: Path, names: Sequence[str] = ()) -> tuple[_Run, _Run]:
    with ThreadPoolExecutor(2) as pool:
        plain, packed = pool.map(
            lambda tree, more: _run(part, tree, {**trees.environment, **more}, scratch, names),
            (trees.plain, trees.packed),
            (trees.held, {}),
        )
    return plain, packed


def _run(
    part: Part, tree: Path, environment: Mapping[str, str], scratch: Path, names: Sequence[str]
) -> _Run:
    """The part's process in the tree, in a folder and a process group of its own; only the tests of
    these names, if there are any."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    outcomes = folder / "outcomes.jsonl"
    if part.module is not None:
        command: list[str | Path] = ["-m", part.module, outcomes]
    else:
        command = ["-m", "pytest", "-q", "--rootdir", tree, "-W", "ignore"]
        command += ["--continue-on-collection-errors", "--hypothesis-seed=0"]
        command += ["-p", "benchmarks.stacks.outcomes", "-p", "no:cacheprovider"]
        command += _named(tree, names, folder) if names else part.tests
    started = time.perf_counter()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            ["prlimit", f"--as={_MEMORY}", *map(str, (PYTHON, "-S", "-s", "-B", *command))],
            cwd=folder,
            env=_environment(tree, folder, environment) | {"LAYERPACK_OUTCOMES": str(outcomes)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code: int | None = process.wait(part.seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.perf_counter() - started
    lines = outcomes.read_text().splitlines(keepends=True) if outcomes.exists() else []
    # One that was killed may have left half a line.
    values = [json.loads(line) for line in lines if line.endswith("\n")]
    return _Run(
        outcomes={value["id"]: value["outcome"] for value in values},
        seconds=seconds,
        ended=_LATE if code is None else f"exit {code}",
    )


def _named(tree: Path, names: Sequence[str], folder: Path) -> list[str]:
    """Arguments for these tests: in a file, as they may be more than a command line holds."""
    file = folder / "names.txt"
    # Names of tests begin with their file, from the tree; without any, pytest would take them all.
    tests = [f"{tree}/{name}" for name in names if not name.endswith(_COLLECTION)]
    file.write_text("\n".join(tests or [str(folder)]))
    return [f"@{file}"]


def _environment(tree: Path, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    names = ("PATH", "HOME", "LANG", "LC_ALL", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {
        "OPENBLAS_NUM_THREADS": "2",
        **kept,
        # Some tests build extension modules with meson.
        "PATH": f"{tree / 'bin'}:{kept['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (tree, _REPOSITORY))),
        "PYTHONHASHSEED": "0",
        "TMPDIR": str(folder),
        **more,
    }


if __name__ == "__main__":
    sys.exit(main())
