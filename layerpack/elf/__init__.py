"""Shared libraries, read and rewritten by their program headers.

Self-contained: knows nothing of recipes or payloads.
"""

from layerpack.elf.format import ElfError
from layerpack.elf.read import Segment, SharedObject, VersionNeed, is_elf, read, read_file
from layerpack.elf.strip import Refusal, strip_file, strip_symbols
from layerpack.elf.verify import memory_image_equal

__all__ = [
    "ElfError",
    "Refusal",
    "Segment",
    "SharedObject",
    "VersionNeed",
    "is_elf",
    "memory_image_equal",
    "read",
    "read_file",
    "strip_file",
    "strip_symbols",
]
