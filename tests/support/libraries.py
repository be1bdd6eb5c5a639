"""Shared libraries, compiled on the spot, without libc so that they need only what is named."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def make_library(
    path: Path,
    *,
    source: str = "int value(void) { return 1; }",
    soname: str | None = None,
    needs: Sequence[Path] = (),
    rpath: str | None = None,
    old_rpath: bool = False,
    versions: str | None = None,
) -> Path:
    """Compile C `source` to the library `path`; `needs` are linked and become DT_NEEDED.

    `rpath` is set as DT_RUNPATH, or as DT_RPATH with `old_rpath`; `versions` is a linker version
    script.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ["-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed"]
    if soname is not None:
        options.append(f"-Wl,-soname,{soname}")
    if rpath is not None:
        tags = "--disable-new-dtags" if old_rpath else "--enable-new-dtags"
        options += [f"-Wl,{tags}", f"-Wl,-rpath,{rpath}"]
    if versions is not None:
        script = path.with_suffix(".map")
        script.write_text(versions)
        options.append(f"-Wl,--version-script={script}")
    subprocess.run(
        ["gcc", *options, "-o", str(path), "-x", "c", "-", "-x", "none", *map(str, needs)],
        input=source,
        text=True,
        check=True,
    )
    return path


def readelf(path: Path, *options: str) -> str:
    """What binutils says about a file."""
    command = ["readelf", *options, "--wide", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
