"""Import and first answer of a recipe's handler, with and without bytecode.

    python -m benchmarks.first_answer [recipes/bert.yaml] [--runs 5]

Builds the recipe once for each setting of strip.bytecode, unzips its layers, and starts a fresh
interpreter for every run; a warm-up run comes first, so that the page cache is warm for all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.measure import measure
from layerpack.interpreters import require_interpreter
from layerpack.recipe import Recipe

_RUN = """\
import json, site, sys
site.addsitedir(sys.argv[1])
sys.path[:0] = [sys.argv[2], sys.argv[1], sys.argv[5]]
import importlib
module, name = sys.argv[3].rsplit(".", 1)
answer = getattr(importlib.import_module(module), name)(json.load(open(sys.argv[4])), None)
assert answer["statusCode"] == 200, answer
"""


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/bert.yaml", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe)
    assert recipe.function is not None
    python = require_interpreter(recipe.profile, "to run the handler")
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
        folder = Path(name)
        commands = {
            kind: _prepare(recipe, kind, folder, python) for kind in ("none", "unchecked-hash")
        }
        times: dict[str, list[float]] = {kind: [] for kind in commands}
        for run in range(arguments.runs + 1):
            # Interleaved, so that other work on the machine disturbs all settings alike.
            for kind, (command, opt) in commands.items():
                environment = {"LD_LIBRARY_PATH": str(opt / "lib")}
                seconds = measure(command, environment=environment).seconds
                if run:
                    times[kind].append(seconds)
        for kind, values in times.items():
            print(f"{recipe.name}, bytecode {kind:<15} median {statistics.median(values):.2f} s")
        ratio = statistics.median(times["unchecked-hash"]) / statistics.median(times["none"])
        print(f"unchecked-hash : none = {ratio:.2f}")


def _prepare(
    recipe: Recipe, bytecode: str, folder: Path, python: Path
) -> tuple[list[str | Path], Path]:
    """Build with one setting, unzip, and give the command that runs the handler once."""
    assert recipe.function is not None
    home = folder / bytecode
    shutil.copytree(recipe.folder, home / "recipes")
    path = home / "recipes" / recipe.path.name
    text = path.read_text()
    assert "bytecode: auto" in text
    path.write_text(text.replace("bytecode: auto", f"bytecode: {bytecode}"))
    build = home / "build"
    measure([sys.executable, "-m", "layerpack", "build", path, "--output", build], accept=(0, 3))
    manifest = json.loads((build / "manifest.json").read_text())
    for layer in manifest["layers"]:
        with zipfile.ZipFile(build / layer["file"]) as archive:
            archive.extractall(home / "opt")
    with zipfile.ZipFile(build / "function.zip") as archive:
        archive.extractall(home / "task")
    sites = sorted((home / "opt").glob("python/lib/python*/site-packages"))
    site = sites[0] if sites else home / "opt" / "python"
    event = next(w.event for w in recipe.workloads)
    command: list[str | Path] = [python, "-S", "-s", "-P", "-B", "-c", _RUN, site, home / "task"]
    opt = home / "opt"
    return [*command, recipe.function.handler, recipe.folder / event, opt / "python"], opt


if __name__ == "__main__":
    main()
