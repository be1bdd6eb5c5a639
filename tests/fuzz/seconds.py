"""How long random inputs are tried."""

from __future__ import annotations

import os


def seconds(short: int) -> int:
    """What LAYERPACK_FUZZ_SECONDS says, for a long run by hand, or else `short`."""
    return int(os.environ.get("LAYERPACK_FUZZ_SECONDS", short))
