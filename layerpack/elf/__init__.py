"""Shared libraries, read and rewritten by their program headers.

Self-contained: knows nothing of recipes or payloads.
"""

from layerpack.elf.format import ElfError
from layerpack.elf.guard import GuardOptions, GuardResult, asks_for_signals, guard
from layerpack.elf.index import Index, Range, Run, Window, read_index
from layerpack.elf.pack import PACK_VERSION, PackOptions, PackResult, pack
from layerpack.elf.ranges import pageable_ranges
from layerpack.elf.read import (
    Segment,
    SharedObject,
    VersionNeed,
    is_elf,
    is_for,
    read,
    read_file,
)
from layerpack.elf.stand_in import stand_in
from layerpack.elf.strip import Refusal, strip_file, strip_symbols
from layerpack.elf.verify import memory_image_equal

__all__ = [
    "PACK_VERSION",
    "ElfError",
    "GuardOptions",
    "GuardResult",
    "Index",
    "PackOptions",
    "PackResult",
    "Range",
    "Refusal",
    "Run",
    "Segment",
    "SharedObject",
    "VersionNeed",
    "Window",
    "asks_for_signals",
    "guard",
    "is_elf",
    "is_for",
    "memory_image_equal",
    "pack",
    "pageable_ranges",
    "read",
    "read_file",
    "read_index",
    "stand_in",
    "strip_file",
    "strip_symbols",
]
