"""A recipe built with one change, its layers unzipped, and the command that runs its handler."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured, measure
from layerpack.interpreters import require_interpreter
from layerpack.recipe import Recipe

# Import, and the first answer; the answer itself goes to a file, so that variants can be compared.
_RUN = """\
import json, site, sys
task, packages, python, handler, event, answer_file = sys.argv[1:]
sys.path[:0] = [task, packages, python]
site.addsitedir(packages)
import importlib
module, name = handler.rsplit(".", 1)
answer = getattr(importlib.import_module(module), name)(json.load(open(event)), None)
assert answer["statusCode"] == 200, answer
json.dump(answer, open(answer_file, "w"))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One build, ready to run: `build` is its folder, `opt` and `task` what Lambda would have."""

    name: str
    build: Path
    opt: Path
    task: Path
    command: tuple[str | Path, ...]
    answer: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The build's manifest."""
        value: dict[str, Any] = json.loads((self.build / "manifest.json").read_text())
        return value

    def run(self, *, cold: bool = False) -> Measured:
        """Start a fresh interpreter, import the handler, and get its first answer.

        `cold`: the layers' files leave the page cache before.
        """
        if cold:
            evict(self.opt)
        return measure(self.command, environment={"LD_LIBRARY_PATH": str(self.opt / "lib")})


def prepare(recipe: Recipe, name: str, changes: Mapping[str, str], folder: Path) -> Variant:
    """Build a copy of the recipe with texts replaced, unzip it, and say how to run it.

    `changes` maps a text that must stand in the recipe to its replacement.
    """
    assert recipe.function is not None
    home = folder / name
    shutil.copytree(recipe.folder, home / "recipes")
    path = home / "recipes" / recipe.path.name
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    build = home / "build"
    command = (sys.executable, "-m", "layerpack", "build", path, "--no-verify", "-o", build)
    measure(command, accept=(0, 3))
    opt, task = home / "opt", home / "task"
    for layer in json.loads((build / "manifest.json").read_text())["layers"]:
        with zipfile.ZipFile(build / layer["file"]) as archive:
            archive.extractall(opt)
    with zipfile.ZipFile(build / "function.zip") as archive:
        archive.extractall(task)
    sites = sorted(opt.glob("python/lib/python*/site-packages"))
    site = sites[0] if sites else opt / "python"
    event = recipe.folder / next(w.event for w in recipe.workloads)
    python = require_interpreter(recipe.profile, "to run the handler")
    return Variant(
        name=name,
        build=build,
        opt=opt,
        task=task,
        command=(
            *(python, "-S", "-s", "-P", "-B", "-c", _RUN),
            *(task, site, opt / "python", recipe.function.handler, event, home / "answer.json"),
        ),
        answer=home / "answer.json",
    )


def evict(root: Path) -> None:
    """Drop the files below `root` from the page cache (they are not dirty after the sync)."""
    os.sync()
    for name, _, files in os.walk(root):
        for file in files:
            handle = os.open(Path(name, file), os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
