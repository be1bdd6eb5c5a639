"""What demand paging costs and gives: sizes, start, memory, and the time of packing.

    python -m benchmarks.paging [recipes/bert.yaml] [--runs 5]

Builds the recipe plain, paged without a recording, and paged with one, each with bytecode for
everything, in a cache of its own; then imports the handler and gets its first answer in fresh
interpreters: with the files in the page cache, and without. Prints the ratios to the plain build,
and how long the libraries take to pack: all of them anew, and from the cache. Ends with 1 where the
answers differ.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.handler import Variant, prepare
from layerpack.recipe import Recipe

_BYTECODE: Final = {"bytecode: auto": "bytecode: unchecked-hash"}


def main() -> int:
    """Build, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/bert.yaml", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe)
    text = recipe.path.read_text()
    # Without workloads nothing is recorded.
    workloads = re.search(r"^workloads:\n(?:[ ].*\n)+", text, re.MULTILINE)
    assert workloads is not None
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
        folder = Path(name)
        os.environ["LAYERPACK_CACHE_DIR"] = str(folder / "cache")
        plain = _timed(recipe, "plain", _store("plain", text), folder)
        paged = _store("paged", text)
        unrecorded = _timed(recipe, "unrecorded", {**paged, workloads[0]: ""}, folder)
        recorded = _timed(recipe, "recorded", paged, folder)
        variants = [plain, unrecorded, recorded]
        for variant in variants:
            _print_sizes(variant)
        answers = {
            answer
            for cold in (False, True)
            for answer in _compare(variants, arguments.runs, cold=cold)
        }
        _packing(folder / "recorded" / "recipes" / recipe.path.name, folder)
        print("answers:", "equal" if len(answers) == 1 else "DIFFERENT")
    return 0 if len(answers) == 1 else 1


def _packing(recipe: Path, folder: Path) -> None:
    """Print how long the pass takes, by what a build tells of its steps."""
    shutil.rmtree(folder / "cache/passes/paged")
    for kind in ("anew", "from the cache"):
        output = folder / f"packed {kind}"
        command: list[str | Path] = [sys.executable, "-m", "layerpack", "build", recipe]
        command += ["-o", output, "--verbose", "--no-verify"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        match = re.search(r"pass paged: .*\((\d+\.\d) s\)", ended.stderr)
        assert ended.returncode in (0, 3) and match is not None, ended.stderr
        print(f"packing all libraries {kind}: {match[1]} s on {os.cpu_count()} processors")


def _timed(recipe: Recipe, name: str, changes: Mapping[str, str], folder: Path) -> Variant:
    started = time.perf_counter()
    variant = prepare(recipe, name, {**changes, **_BYTECODE}, folder)
    print(f"{name}: built and unzipped in {time.perf_counter() - started:.1f} s")
    return variant


def _store(kind: str, text: str) -> dict[str, str]:
    """The change that sets `native.store`, below the recipe's first line."""
    line = text.splitlines()[0]
    assert "native:" not in text
    return {line: f"{line}\nnative: {{store: {kind}}}"}


def _print_sizes(variant: Variant) -> None:
    manifest = variant.manifest
    totals = manifest["totals"]
    zips = ", ".join(f"{layer['zipped_bytes'] / 1e6:.1f}" for layer in manifest["layers"])
    print(
        f"{variant.name}: unzipped {totals['unzipped_bytes']:,}, zipped {totals['zipped_bytes']:,} "
        f"({zips} MB)"
    )


def _compare(variants: list[Variant], runs: int, *, cold: bool) -> set[bytes]:
    """Run all, and print the ratios; the answers that differ, of which there should be one."""
    answers = set()
    seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    peaks: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for run in range(runs + 1):
        # Interleaved, so that other work on the machine disturbs all variants alike.
        for variant in variants:
            measured = variant.run(cold=cold)
            answers.add(variant.answer.read_bytes())
            if run:
                seconds[variant.name].append(measured.seconds)
                peaks[variant.name].append(measured.peak_bytes)
    base, base_peak = (statistics.median(values["plain"]) for values in (seconds, peaks))
    for variant in variants:
        time_, peak = (statistics.median(values[variant.name]) for values in (seconds, peaks))
        print(
            f"page cache {'cold' if cold else 'warm'}, {variant.name:<10}: "
            f"{time_:.2f} s (ratio {time_ / base:.3f}), "
            f"peak {peak / 1e6:.0f} MB (ratio {peak / base_peak:.3f})"
        )
    return answers


if __name__ == "__main__":
    sys.exit(main())
