"""Sizes by pass, and the time and memory of a build beside a plain install and zip.

    python -m benchmarks.build [recipes/bert.yaml]

Everything happens in a temporary folder with an empty cache, on this machine, one after the other.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Measured, measure
from layerpack.interpreters import require_interpreter
from layerpack.lock import Lock
from layerpack.recipe import Recipe

_ZIP = "import shutil, sys; shutil.make_archive(sys.argv[2], 'zip', sys.argv[1])"
# A small requirement that changes the lock in one place.
_CHANGE = "  - wrapt<2.5\n"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/bert.yaml", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
        folder = Path(name)
        shutil.copytree(arguments.recipe.parent, folder / "recipes")
        recipe = folder / "recipes" / arguments.recipe.name
        _builds(recipe, folder)
        _plain(recipe, folder)


def _builds(recipe: Path, folder: Path) -> None:
    def build(label: str) -> None:
        output = folder / "build"
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "layerpack",
            "build",
            recipe,
            "--output",
            output,
        ]
        cache = {"LAYERPACK_CACHE_DIR": str(folder / "cache")}
        _line(label, measure(command, environment=cache, accept=(0, 3)))

    build("layerpack build, cold cache")
    _sizes(json.loads((folder / "build" / "manifest.json").read_text()))
    build("layerpack build, nothing changed")
    shutil.rmtree(folder / "build")
    build("layerpack build, warm cache")
    text = recipe.read_text()
    recipe.write_text(text.replace("requirements:\n", "requirements:\n" + _CHANGE))
    build("layerpack build, one requirement changed")
    recipe.write_text(text)


def _sizes(manifest: dict[str, object]) -> None:
    print(f"naive: {manifest['naive_unzipped_bytes']:,} bytes")
    passes = manifest["passes"]
    assert isinstance(passes, list)
    for one in passes:
        print(f"  after {one['name']:<18} {one['bytes_after']:>13,} bytes ({one['files']} files)")
    totals = manifest["totals"]
    layers = manifest["layers"]
    assert isinstance(totals, dict) and isinstance(layers, list)
    print(f"total: {totals['unzipped_bytes']:,} bytes unzipped, {totals['zipped_bytes']:,} zipped")
    for layer in layers:
        print(f"  {layer['name']}: {layer['zipped_bytes']:,} zipped, {layer['unzipped_bytes']:,}")


def _plain(recipe: Path, folder: Path) -> None:
    """`uv pip install --target` and `pip install --target`, each with a zip of the result."""
    loaded = Recipe.load(recipe)
    lock = Lock.read(loaded.lock_path)
    assert lock is not None
    listing = folder / "plain.txt"
    listing.write_text("".join(pin.line + "\n" for pin in lock.requirements))
    python = require_interpreter(loaded.profile, "to install plainly")
    tools = {
        "uv pip install": [
            *(sys.executable, "-m", "uv", "pip", "install", "--python", str(python), "--quiet"),
        ],
        "pip install": [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
            "--disable-pip-version-check",
        ],
    }
    for label, tool in tools.items():
        for state in ("cold", "warm"):
            target = folder / f"{label.split()[0]}-{state}"
            kept = str(folder / f"{label.split()[0]}-cache")
            caches = {"UV_CACHE_DIR": kept, "PIP_CACHE_DIR": kept}
            options = ["--no-deps", "--require-hashes", "--target", str(target)]
            install = measure([*tool, *options, "-r", str(listing)], environment=caches)
            packing = measure([sys.executable, "-c", _ZIP, target, f"{target}-out"])
            _line(f"{label} --target, {state} cache", install)
            _line("  + zip", packing)
            size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
            print(f"  {size:,} bytes unzipped")


def _line(label: str, measured: Measured) -> None:
    peak = measured.peak_bytes / 1e6
    print(f"{label:<44} {measured.seconds:7.2f} s {peak:8.1f} MB peak (largest process)")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
