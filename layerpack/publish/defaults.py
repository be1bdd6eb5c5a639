"""What a function gets that is made, unless told otherwise."""

from __future__ import annotations

from typing import Final

from layerpack.limits import MEMORY_MB

__all__ = ["MEMORY_MB", "TIMEOUT_SECONDS"]

TIMEOUT_SECONDS: Final = 60
