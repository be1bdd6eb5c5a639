"""What a function gets that is made, unless told otherwise."""

from __future__ import annotations

from typing import Final

#: MB; the size that brings a whole processor, and what `layerpack invoke` runs with.
MEMORY_MB: Final = 1769
TIMEOUT_SECONDS: Final = 60
