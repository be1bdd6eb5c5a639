"""The functions of glibc that the pager answers: one table for C and Python, `redirected.h`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

_TABLE: Final = Path(__file__).parent / "pager" / "redirected.h"
_ROW: Final = re.compile(r'^LP_REDIRECT\("(\w+)", (\w+)\)$', re.MULTILINE)


@cache
def redirected() -> Mapping[str, str]:
    """glibc's name of each function, and the pager's name of the one that takes its place."""
    return MappingProxyType(dict(_ROW.findall(_TABLE.read_text(encoding="utf-8"))))
