"""The installed `layerpack` command, run as a user would."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMMAND = Path(sysconfig.get_path("scripts")) / "layerpack"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str


def environment(cache: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the cache folder, and no colours or width of a terminal."""
    return {
        **os.environ,
        "LAYERPACK_CACHE_DIR": str(cache),
        "NO_COLOR": "1",
        "COLUMNS": "100",
        # It takes AWS's client, from the package index, for each cache.
        "LAYERPACK_VERIFY": "0",
        **(extra or {}),
    }


def layerpack(
    *arguments: str | Path,
    folder: Path,
    cache: Path,
    extra: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> Ended:
    """Run `layerpack ARGUMENTS` in `folder` to its end, with `given` as standard input."""
    result = subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=folder,
        env=environment(cache, extra),
        input=given,
        capture_output=True,
        check=False,
        # None takes as long: what hangs is ended, and fails.
        timeout=900,
    )
    return Ended(
        code=result.returncode, output=result.stdout.decode(), errors=result.stderr.decode()
    )


def start(
    *arguments: str | Path, folder: Path, cache: Path, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `layerpack ARGUMENTS` in a process group of its own."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        cwd=folder,
        env=environment(cache, extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
