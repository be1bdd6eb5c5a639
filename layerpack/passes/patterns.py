"""Globs by which a recipe names files: `strip.keep`, `native.keep-plain`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from layerpack.payload import Payload


def matcher(patterns: tuple[str, ...]) -> Callable[[Payload, str], bool]:
    """Whether a payload's path, seen from site-packages where it lies there, is meant.

    `*` reaches across folders; a pattern that names a folder means all below it.
    """
    if not patterns:
        return lambda payload, path: False
    spellings = []
    for pattern in patterns:
        plain = pattern.rstrip("/")
        # `**/x` is also an x at the top.
        for spelling in {plain, plain.removeprefix("**/")}:
            spellings += [fnmatch.translate(spelling), fnmatch.translate(f"{spelling}/*")]
    expression = re.compile("|".join(spellings))
    return lambda payload, path: expression.match(payload.in_site(path) or path) is not None
