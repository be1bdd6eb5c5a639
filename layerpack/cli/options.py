"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


class BuilderName(StrEnum):
    """Where to build."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"


RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell every step, and passes' results.")
]
BuilderOption = Annotated[
    BuilderName, typer.Option(help="Where to work; auto: in Docker where the recipe needs it.")
]
BaseImage = Annotated[
    str, typer.Option(help="The image to work in with Docker (default: AWS's build image).")
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", envvar="LAYERPACK_CACHE_DIR", help="Where results are kept for later builds."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The build folder (default: build/<name>).")
]
