"""What this machine has that Lambda's runtime has not."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: Of a C compiler, which the tests need: nothing of Python's standard library uses these.
_COMPILERS = ("libmpc.so.3", "libisl.so.23", "libcc1.so.0", "libubsan.so.1", "libasan.so.8")


def foreign_library() -> tuple[str, Path]:
    """A library that this machine's loader finds, and Lambda's would not: soname and file."""
    listing = subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        soname, _, rest = line.strip().partition(" (")
        if soname in _COMPILERS and "x86-64" in rest:
            return soname, Path(rest.rpartition(" => ")[2])
    raise AssertionError(f"none of {', '.join(_COMPILERS)} is here")
