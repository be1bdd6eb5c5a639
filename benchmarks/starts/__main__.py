"""Starts, first answers and memory of layers, as ratios to the plain install with bytecode.

    python -m benchmarks.starts [mini_racer recipes/bert.yaml ...] [--cold] [--json FILE]

Builds the stacks of `handlers` (all, unless some are named) with paged libraries, and recipes as
they are. Each runs in the emulator beside its plain install, which gets unchecked-hash bytecode for
every module: interleaved, with each memory size and the processor share that it brings. Prints the
minima's ratios as a Markdown table, with those in bold that miss a goal (`_GOALS`). Ends with 1
where an answer differs or a function fails.

A start is the initialisation without what an empty function's takes. `--cold` measures start and
first answer together, with the layers' files dropped from the page cache before each run; the
interpreter's stay. That is done with the first memory size alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from benchmarks.handler import evict
from benchmarks.measure import measure
from layerpack.builders.choose import Wish, open_builder
from layerpack.cache import Cache
from layerpack.compare import differences
from layerpack.emulator.processor import MB_A_PROCESSOR
from layerpack.emulator.trees import Trees, unzip
from layerpack.events import Events
from layerpack.inputs import function_entries
from layerpack.interpreters import require_interpreter
from layerpack.lock import Lock
from layerpack.pipeline import BuildOptions, build
from layerpack.plain_run import open_plain_run
from layerpack.recipe import Recipe
from layerpack.stages import Stages
from layerpack.trial import Ran, Trial

_HANDLERS: Final = Path(__file__).with_name("handlers")
_METADATA: Final = re.compile(r"# /// script\n((?:# .*\n)+)# ///\n")
_COMPILE: Final = ("-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash")
#: The largest ratios to the plain install that are wanted, by figure.
_GOALS: Final = {"start_ms": 1.0, "first_ms": 1.1, "cold_ms": 0.75, "peak_mb": 1.0}
#: The emulator stops and continues a process in steps of so many milliseconds of its processor
#: share, and rounds memory to whole MB: a goal that is missed by less is not marked.
_STEP_MS: Final = 5
_HEAD: Final = """\
| stack | memory | start | first answer | cold | peak memory | packed MB | plain MB |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stack:
    """A build and its plain install, ready to run; `bare` is an empty function without layers."""

    trial: Trial
    packed: Trees
    plain: Trees
    bare: Trees
    packed_bytes: int
    plain_bytes: int


def main() -> int:
    """Build, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = sorted(path.stem for path in _HANDLERS.glob("[!_]*.py"))
    parser.add_argument("stacks", nargs="*", default=names, help=f"a recipe, or {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--memory", type=int, nargs="+", default=(1769, 512), help="sizes in MB")
    parser.add_argument("--cold", action="store_true", help="also with a cold page cache")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"date": date.today().isoformat(), "runs": arguments.runs, "rows": []}
    equal = True
    for stack in arguments.stacks:
        with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
            recipe = _recipe(stack, Path(name))
            found, conditions = _measured(recipe, Path(name), arguments)
        if not report["rows"]:
            report |= conditions
            print(", ".join(f"{key}: {report[key]}" for key in report if key != "rows"))
            print(_HEAD)
        for row in found:
            report["rows"].append(row)
            equal &= row["equal"]
            print(_line(row), flush=True)
            if row["failure"]:
                print(f"{row['name']} fails: {row['failure']}", file=sys.stderr)
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if equal else 1


def _recipe(stack: str, folder: Path) -> Recipe:
    """A copy of the recipe in a file, or one for a handler, below `folder`."""
    home = folder / "recipes"
    if stack.endswith(".yaml"):
        shutil.copytree(Path(stack).parent, home)
        return Recipe.load(home / Path(stack).name)
    (home / "handler").mkdir(parents=True)
    source = (_HANDLERS / f"{stack}.py").read_text()
    (home / "handler/app.py").write_text(source)
    (home / "event.json").write_text('{"n": 3}')
    metadata = _METADATA.match(source)
    assert metadata is not None, stack
    value = {
        "name": stack.replace("_", "-"),
        "runtime": "python3.12",
        "architecture": "arm64" if platform.machine() == "aarch64" else "x86_64",
        "requirements": tomllib.loads(metadata[1].replace("# ", ""))["dependencies"],
        "function": {"source": "handler", "handler": "app.handler"},
        "workloads": [{"name": "first", "event": "event.json"}],
        "native": {"store": "paged"},
    }
    # JSON is YAML.
    (home / f"{stack}.yaml").write_text(json.dumps(value, indent=1))
    return Recipe.load(home / f"{stack}.yaml")


def _measured(
    recipe: Recipe, folder: Path, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each memory size, and the conditions."""
    cache, events = Cache.at(), Events(warn=lambda text: print(f"{recipe.name}: {text}"))
    result = build(recipe.path, BuildOptions(cache=cache, output=folder / "build"), events)
    function, lock = function_entries(recipe), Lock.read(recipe.lock_path)
    assert lock is not None and recipe.function is not None
    with cache.opened(), closing(open_builder(recipe, Wish(), cache, events)) as builder:
        stages = Stages(recipe, lock, builder, cache=cache, events=events, locked=True)
        naive = stages.prepared(function).naive
        with open_plain_run(recipe, naive, function, cache=cache, events=events) as plain:
            plain.trial.probe()
            if plain.trial.isolation == "process":
                sys.exit("no isolation here: each start would copy all files")
            python = require_interpreter(recipe.profile, "to compile modules")
            # What does not compile is compiled at no start either.
            measure((python, *_COMPILE, plain.trees().opt), accept=(0, 1))
            stack = _Stack(
                trial=plain.trial,
                packed=unzip(result.folder, result.manifest, folder / "packed"),
                plain=plain.trees(),
                bare=_bare(recipe.function.handler, folder / "bare"),
                packed_bytes=result.manifest.totals.unzipped_bytes,
                plain_bytes=result.manifest.naive_unzipped_bytes,
            )
            conditions = {"processor": plain.trial.processor_name, "processors": os.cpu_count()}
            conditions |= {"python": plain.trial.python, "isolation": plain.trial.isolation}
            rows = [
                _row(stack, size, arguments.runs, cold=arguments.cold and not number)
                for number, size in enumerate(arguments.memory)
            ]
    return rows, conditions


def _bare(handler: str, home: Path) -> Trees:
    """Trees of a function that does nothing, with the same handler."""
    trees = Trees(opt=home / "opt", task=home / "task")
    module, _, name = handler.rpartition(".")
    file = trees.task / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(parents=True)
    trees.opt.mkdir()
    file.write_text(f"def {name}(event, context):\n    return None\n")
    return trees


def _row(stack: _Stack, memory: int, runs: int, *, cold: bool) -> dict[str, Any]:
    """All figures of a stack with a memory size."""
    trees = {"bare": stack.bare, "plain": stack.plain, "packed": stack.packed}
    warm = _runs(stack.trial, trees, memory, runs)
    bare = min(one.init_ms or 0.0 for one in warm.pop("bare"))
    figures = {kind: _figures(ran, bare, memory) for kind, ran in warm.items()}
    if cold:
        del trees["bare"]
        for kind, ran in _runs(stack.trial, trees, memory, runs, cold=True).items():
            figures[kind]["cold_ms"] = _figures(ran, bare, memory)["whole_ms"]
    before, after = (warm[kind][0].payload.encode() for kind in ("plain", "packed"))
    failure = next((one.failure for ran in warm.values() for one in ran if one.fails), "")
    verify = stack.trial.recipe.verify
    return {
        "name": stack.trial.recipe.name,
        "memory_mb": memory,
        "ratios": {
            figure: round(ours / theirs, 3)
            for figure in _GOALS
            if not failure
            and (ours := figures["packed"].get(figure) or 0) > 0
            and (theirs := figures["plain"].get(figure) or 0) > 0
        },
        "bare_ms": round(bare, 1),
        **figures,
        "packed_bytes": stack.packed_bytes,
        "plain_bytes": stack.plain_bytes,
        "load": round(os.getloadavg()[0], 1),
        "equal": not differences(before, after, verify.tolerance, ignore=verify.ignore),
        "failure": failure,
    }


def _runs(
    trial: Trial, trees: dict[str, Trees], memory: int, runs: int, *, cold: bool = False
) -> dict[str, list[Ran]]:
    """Every run of each kind; the first, which fills the page cache, is left out."""
    ran: dict[str, list[Ran]] = {kind: [] for kind in trees}
    for run in range(runs + 1):
        # Interleaved, so that other work on the machine disturbs all alike.
        for kind, tree in trees.items():
            if cold:
                evict(tree.opt)
            one = trial.with_memory(tree, memory)
            if run:
                ran[kind].append(one)
    return ran


def _figures(ran: list[Ran], bare: float, memory: int) -> dict[str, float | None]:
    """The minima; None for a start that had to go on within the answer, and for a peak that reached
    the memory's end: the emulator does not tell what is beyond it."""
    started = [one.init_ms - bare for one in ran if one.init_ms is not None]
    peak = min(one.memory_mb for one in ran)
    return {
        "start_ms": round(min(started), 1) if len(started) == len(ran) else None,
        "first_ms": round(min(one.first_ms for one in ran), 1),
        "whole_ms": round(min((one.init_ms or 0.0) - bare + one.first_ms for one in ran), 1),
        "peak_mb": peak if peak < memory else None,
        "read_mb": min(one.read_mb for one in ran),
    }


def _line(row: dict[str, Any]) -> str:
    """A row of the table."""
    note = " (FAILS)" if row["failure"] else "" if row["equal"] else " (answers DIFFER)"
    cells = [row["name"] + note, f"{row['memory_mb']:,}"]
    step = _STEP_MS * max(1.0, MB_A_PROCESSOR / row["memory_mb"])
    for figure, goal in _GOALS.items():
        if figure not in row["ratios"]:
            cells.append("-")
            continue
        before, after = (row[kind][figure] for kind in ("plain", "packed"))
        unit, least = ("MB", 1.0) if figure == "peak_mb" else ("ms", step)
        mark = "**" if after > goal * before + least else ""
        cells.append(f"{mark}{after / before:.2f}{mark} of {before:,.0f} {unit}")
    cells += (f"{row[size] / 1e6:.1f}" for size in ("packed_bytes", "plain_bytes"))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
