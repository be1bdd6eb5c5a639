"""What a function gets that is made, unless told otherwise; its memory is `limits.MEMORY_MB`."""

from __future__ import annotations

from typing import Final

TIMEOUT_SECONDS: Final = 60
