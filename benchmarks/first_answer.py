"""Import and first answer of a recipe's handler, with and without bytecode.

    python -m benchmarks.first_answer [recipes/bert.yaml] [--runs 5]

Builds the recipe once for each setting of strip.bytecode, unzips its layers, and starts a fresh
interpreter for every run; a warm-up run comes first, so that the page cache is warm for all.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.handler import prepare
from layerpack.recipe import Recipe


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/bert.yaml", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe)
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as folder:
        variants = [
            prepare(recipe, kind, {"bytecode: auto": f"bytecode: {kind}"}, Path(folder))
            for kind in ("none", "unchecked-hash")
        ]
        times: dict[str, list[float]] = {variant.name: [] for variant in variants}
        for run in range(arguments.runs + 1):
            # Interleaved, so that other work on the machine disturbs all settings alike.
            for variant in variants:
                seconds = variant.run().seconds
                if run:
                    times[variant.name].append(seconds)
        for kind, values in times.items():
            print(f"{recipe.name}, bytecode {kind:<15} median {statistics.median(values):.2f} s")
        ratio = statistics.median(times["unchecked-hash"]) / statistics.median(times["none"])
        print(f"unchecked-hash : none = {ratio:.2f}")


if __name__ == "__main__":
    main()
