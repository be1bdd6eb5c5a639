"""The pager: the small library, in C, that pages packed libraries in where they run.

It is compiled when layerpack's wheel is built (`build`), for both of Lambda's machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from layerpack.elf.dynamic import PAGER
from layerpack.errors import BuildToolError

#: What packed libraries ask the loader for.
PAGER_SONAME: Final = PAGER

_FOLDER = Path(__file__).parent / "lib"


def pager_file(machine: str) -> Path:
    """The pager for `machine` (`x86_64` or `aarch64`); needs glibc 2.17 or later.

    Raises BuildToolError where it is not there.
    """
    return _present(_FOLDER / machine / PAGER_SONAME)


def license_file() -> Path:
    """The licence of zstd, whose decoder is in the pager; to go where the pager goes.

    Raises BuildToolError where it is not there.
    """
    return _present(_FOLDER / "LICENSE-zstd")


def _present(path: Path) -> Path:
    if path.is_file():
        return path
    raise BuildToolError(
        f"layerpack's run-time part is missing: there is no {path}",
        "Install layerpack with pip, from a wheel or from its sources, which builds it.",
    )
