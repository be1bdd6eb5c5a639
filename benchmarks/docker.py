"""The time of the same recipe's build on this machine and in Docker, cold and cached.

    python -m benchmarks.docker RECIPE [--base-image IMAGE]

Everything happens in a temporary folder, one after the other, with a cache for each builder. The
lock is made first, and in the time of neither; the image is there already.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import measure
from layerpack.units import sha256_file


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--base-image", default="")
    arguments = parser.parse_args()
    image = ["--base-image", arguments.base_image] if arguments.base_image else []
    builders = {"local": ["--builder", "local"], "docker": ["--builder", "docker", *image]}
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name:
        folder = Path(name)
        shutil.copytree(arguments.recipe.parent, folder / "recipes")
        recipe = folder / "recipes" / arguments.recipe.name
        measure([sys.executable, "-m", "layerpack", "lock", recipe])
        zips = {}
        for builder, options in builders.items():
            output = folder / builder
            for state in ("cold", "cached", "nothing changed"):
                if state == "cached":
                    shutil.rmtree(output)
                command = [sys.executable, "-m", "layerpack", "build", recipe, "--locked"]
                command.append("--no-verify")
                command += ["--output", output, *options]
                cache = {"LAYERPACK_CACHE_DIR": str(folder / f"cache-{builder}")}
                measured = measure(command, environment=cache, accept=(0, 3))
                sys.stdout.write(f"{builder:<8} {state:<16} {measured.seconds:8.1f} s\n")
            zips[builder] = {path.name: sha256_file(path) for path in output.rglob("*.zip")}
        same = "the same" if zips["local"] == zips["docker"] else "not the same"
        sys.stdout.write(f"the zips of both are {same}\n")


if __name__ == "__main__":
    main()
