"""What the proof and the emulator cost.

    python -m benchmarks.emulator [recipes/sklearn.yaml] [--runs 5]

Builds the recipe in a cache of its own; then again from the warm cache, without and with the proof:
the plain install's answers being worked out, and being known. Then the handler's first answer by
`layerpack invoke`, in namespaces and as a plain process, and in a bare interpreter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.handler import prepare
from benchmarks.measure import measure
from layerpack.recipe import Recipe

_LAYERPACK: Final = (sys.executable, "-m", "layerpack")


def main() -> None:
    """Build, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/sklearn.yaml", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe)
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
        folder = Path(name)
        cache = folder / "cache"
        os.environ["LAYERPACK_CACHE_DIR"] = str(cache)
        variant = prepare(recipe, "warm", {}, folder)
        path = folder / "warm/recipes" / recipe.path.name
        # AWS's client comes from the index once.
        event = recipe.folder / recipe.workloads[0].event
        invoke = (*_LAYERPACK, "invoke", variant.build, "--event", event, "--memory", "10240")
        measure(invoke)

        def build(option: str, *, known: bool = True) -> float:
            if not known:
                shutil.rmtree(cache / "plain", ignore_errors=True)
            output = folder / "timed"
            shutil.rmtree(output, ignore_errors=True)
            command = (*_LAYERPACK, "build", path, "-o", output, option)
            return measure(command, accept=(0, 3)).seconds

        kinds: dict[str, Callable[[], float]] = {
            "build, not verified": lambda: build("--no-verify"),
            "build, verified": lambda: build("--verify", known=False),
            "build, verified, the plain answers known": lambda: build("--verify"),
        }
        _print(_medians(kinds, arguments.runs))
        kinds = {
            "bare interpreter": lambda: variant.run().seconds,
            "invoke, in namespaces": lambda: (
                measure((*invoke, "--isolation", "namespaces")).seconds
            ),
            "invoke, plain process": lambda: measure((*invoke, "--isolation", "process")).seconds,
        }
        _print(_medians(kinds, arguments.runs))


def _medians(kinds: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """Interleaved, so that other work on the machine disturbs all alike; the first is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for run in range(runs + 1):
        for name, time in kinds.items():
            taken = time()
            if run:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _print(medians: dict[str, float]) -> None:
    base = next(iter(medians.values()))
    for name, value in medians.items():
        print(f"{name:<42} {value:6.2f} s  ({value - base:+.2f} s, ratio {value / base:.2f})")


if __name__ == "__main__":
    main()
