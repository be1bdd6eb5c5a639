"""Globs by which a recipe names files: `strip.keep`, `native.keep-plain`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import partial

from layerpack.payload import Payload


def unmatched(patterns: tuple[str, ...], payload: Payload) -> list[str]:
    """The patterns that mean no file of a payload."""
    return [
        pattern
        for pattern in patterns
        if not any(map(partial(matcher((pattern,)), payload), (one.path for one in payload)))
    ]


def matcher(patterns: tuple[str, ...]) -> Callable[[Payload, str], bool]:
    """Whether a payload's path is meant, as it is in the layer or seen from site-packages.

    `*` reaches across folders; a pattern that names a folder means all below it.
    """
    if not patterns:
        return lambda payload, path: False
    spellings = []
    for pattern in patterns:
        plain = pattern.removeprefix("/opt/").rstrip("/")
        # `**/x` is also an x at the top.
        for spelling in {plain, plain.removeprefix("**/")}:
            spellings += [fnmatch.translate(spelling), fnmatch.translate(f"{spelling}/*")]
    expression = re.compile("|".join(spellings))

    def means(payload: Payload, path: str) -> bool:
        return any(expression.match(one) for one in (path, payload.in_site(path)) if one)

    return means
