"""`import mxnet` with the functions of its operators made once, beside MXNet's own way.

    python -m benchmarks.mxnet_start [--runs 9]

Installs MXNet 1.9.1 by pip for the runtime's Python, with the patches of recipes/bert.yaml, and
makes trees of it: as it is, and by the pass mxnet-wrappers, each with bytecode for all and without
any. Fresh interpreters import it in turns, from a warm page cache; prints the medians' ratios, and
what the functions add to the tree. libgomp and libquadmath must be on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.stacks.table import mend_mxnet
from layerpack.interpreters import require_interpreter
from layerpack.passes.api import Pass, PassContext
from layerpack.passes.compile import Compile
from layerpack.passes.mxnet_wrappers import MxnetWrappers
from layerpack.passes.runner import run_passes
from layerpack.payload import PYTHON, Payload, entries_of
from layerpack.recipe import Recipe
from tests.support.packed_trees import install

_REQUIREMENTS: Final = ("mxnet==1.9.1", "numpy==1.26.4", "packaging")
_RECIPE: Final = Path("recipes/bert.yaml")
# ru_maxrss is in KiB on Linux (getrusage(2)).
_IMPORT: Final = """\
import resource, time
begun = time.perf_counter()
import mxnet
seconds = time.perf_counter() - begun
print([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024])
"""
_PASSES: Final[dict[str, tuple[Pass, ...]]] = {
    "bytecode": (Compile(),),
    "bytecode, made once": (MxnetWrappers(), Compile()),
    "no bytecode": (),
    "no bytecode, made once": (MxnetWrappers(),),
}


def main() -> None:
    """Print the medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    recipe = Recipe.load(_RECIPE)
    python = require_interpreter(recipe.profile, "to import MXNet")
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as home:
        trees = _trees(recipe, python, Path(home))
        runs: dict[str, list[_Run]] = {name: [] for name in trees}
        for number in range(arguments.runs + 1):
            # Interleaved, so that other work on the machine disturbs all alike.
            for name, tree in trees.items():
                run = _imported(python, tree)
                if number:
                    runs[name].append(run)
        for kind in ("bytecode", "no bytecode"):
            before, after = _median(runs[kind]), _median(runs[f"{kind}, made once"])
            print(
                f"import mxnet, {kind:<11} {before.seconds:.3f} s, "
                f"made once {after.seconds:.3f} s: ratio {after.seconds / before.seconds:.2f}; "
                f"memory {after.peak_bytes / before.peak_bytes:.2f}"
            )


class _Run(NamedTuple):
    """Seconds of the import, and the process's peak memory in bytes."""

    seconds: float
    peak_bytes: float


def _imported(python: Path, tree: Path) -> _Run:
    ended = subprocess.run(
        [*(python, "-s", "-S", "-B", "-c", _IMPORT)],
        env={**os.environ, "PYTHONPATH": str(tree / PYTHON)},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    return _Run(*json.loads(ended.stdout))


def _median(runs: list[_Run]) -> _Run:
    return _Run(*(statistics.median(values) for values in zip(*runs, strict=True)))


def _trees(recipe: Recipe, python: Path, home: Path) -> dict[str, Path]:
    """The trees by their names."""
    plain = install(home / "install", _REQUIREMENTS, python=recipe.profile.python)
    mend_mxnet(plain)
    payload = Payload(
        entry
        for top in sorted(plain.iterdir())
        if top.is_dir()
        for entry in entries_of(top, f"{PYTHON}/{top.name}", top.name)
    )
    context = PassContext(
        recipe=recipe,
        profile=recipe.profile,
        cache=home / "cache",
        room=10**9,
        interpreter=python,
        warn=print,
    )
    trees = {}
    for name, passes in _PASSES.items():
        outcome = run_passes(payload, passes, context)
        for record in outcome.records:
            change = record.bytes_after - record.bytes_before
            print(f"{name}: {record.name} {record.files} files, {change:+,} bytes")
        trees[name] = home / name.replace(", ", "-").replace(" ", "-")
        outcome.payload.materialise(trees[name])
    return trees


if __name__ == "__main__":
    main()
