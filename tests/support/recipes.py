"""Recipes as text in a folder, and payloads as text in files."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from layerpack import data
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe

#: The runtime of the Python that runs the tests: the one that is certainly on this machine.
HERE = f"python{sys.version_info[0]}.{sys.version_info[1]}"
#: For tests that run a runtime's Python: others than this one may not be installed.
RUNTIMES = tuple(
    pytest.param(one, marks=() if one == HERE else pytest.mark.pythons)
    for one in ("python3.9", "python3.10", "python3.11", "python3.12", "python3.13")
)


def recipe_file(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    """A recipe's file with the text, without its indentation."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def minimal(
    folder: Path,
    *,
    requirements: Iterable[str] = ("alpha",),
    runtime: str = "python3.12",
    index: str | None = None,
    more: str = "",
    name: str = "recipe.yaml",
) -> Path:
    """A recipe's file with the least that is needed, and `more` YAML below it."""
    text = f"name: small\nruntime: {runtime}\nrequirements: [{', '.join(requirements)}]\n"
    if index is not None:
        text += f"resolve: {{index-url: '{index}'}}\n"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + textwrap.dedent(more), encoding="utf-8")
    return path


def load(folder: Path, **options: object) -> Recipe:
    """The recipe of `minimal`."""
    return Recipe.load(minimal(folder, **options))  # type: ignore[arg-type]


def payload_in(
    folder: Path, files: Mapping[str, str | bytes], distribution: str = "alpha"
) -> Payload:
    """A payload of files written below `folder`, all of one distribution."""
    entries = []
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        entries.append(FileEntry.of(file, path, distribution))
    return Payload(entries)


def schema() -> Any:
    """The schema of recipes that ships."""
    return json.loads(data.text("recipe.schema.json"))
