"""Wheels of the index that tests look into, downloaded once a session by pip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

#: The smallest of glibc's that a wheel may ask for, up to what the tests' wheels do.
_GLIBCS = ("2_17", "2_27", "2_28", "2_34")


def wheels(folder: Path, *requirements: str, machine: str = "x86_64") -> list[Path]:
    """Wheels for CPython 3.11, downloaded to `folder`, sorted."""
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBCS]
    platforms.append(f"manylinux2014_{machine}")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--python-version", "3.11", "--dest", str(folder)),
            *(word for platform in platforms for word in ("--platform", platform)),
            *requirements,
        ],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def download(folder: Path, *requirements: str, machine: str = "x86_64") -> list[Path]:
    """The shared libraries in wheels for CPython 3.11, unpacked below `folder`, sorted."""
    found: list[Path] = []
    for wheel in wheels(folder / "wheels", *requirements, machine=machine):
        target = folder / wheel.name.partition("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            found += [
                Path(archive.extract(name, target))
                for name in archive.namelist()
                if ".so" in Path(name).suffixes
            ]
    return sorted(found)
