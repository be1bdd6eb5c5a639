"""Kernels that numeric libraries have for one kind of processor each, and how to leave some out.

Each family of libraries has a module, which tells what variants a library has and what goes with
those that no level of a recipe's `cpu` keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf.code import CODE_VERSION, Code
from layerpack.elf.drops import Drops, merged
from layerpack.elf.format import ElfError
from layerpack.kernels import blis, numpy_loops, onednn, openblas
from layerpack.kernels.variants import Finder, LeftAlone, Variant, Variants
from layerpack.processor_levels import Level

__all__ = ["KERNELS_VERSION", "Found", "LeftAlone", "Variant", "find_drops", "has_kernels"]

#: Part of the keys of what is made by it: another number means that other code may go.
KERNELS_VERSION: Final = (4, CODE_VERSION)
#: What is in the bytes of every library of a family, and what finds its variants.
_FAMILIES: Final[tuple[tuple[bytes, Finder], ...]] = (
    (openblas.MARK, openblas.find),
    (blis.MARK, blis.find),
    (numpy_loops.MARK, numpy_loops.find),
    (onednn.MARK, onednn.find),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What goes of a library, nothing where it has no kernels for other processors; the variants
    that it has; and why those of another family of its all stay, if there is one that is not known
    well enough."""

    drops: Drops
    variants: tuple[Variant, ...]
    left: LeftAlone | None = None


def has_kernels(path: Path) -> bool:
    """Whether a library may have kernels of a kind that is known. Raises OSError."""
    data = path.read_bytes()
    return any(mark in data for mark, _ in _FAMILIES)


def find_drops(path: Path, levels: Sequence[Level]) -> Found | LeftAlone:
    """What goes of a library where kernels for `levels` are to stay, and the variants it has.

    `levels` are of the library's architecture, and at least one. The library may be read as its
    wheel has it: removing its symbols changes no address, though it may take what tells of the
    variants. Raises OSError.
    """
    data = path.read_bytes()
    finders = [find for mark, find in _FAMILIES if mark in data]
    if not finders:
        return LeftAlone(reason="it has no kernels of a kind that is known")
    try:
        code = Code(path)
        every = [find(code, levels) for find in finders]
    except ElfError as error:
        return LeftAlone(reason=error.reason)
    found = [one for one in every if isinstance(one, Variants)]
    reasons = [one.reason for one in every if isinstance(one, LeftAlone)]
    left = LeftAlone(reason="; ".join(reasons)) if reasons else None
    if left and not found:
        return left
    return Found(
        drops=found[0].drops if len(found) == 1 else merged(one.drops for one in found),
        variants=tuple(variant for one in found for variant in one.found),
        left=left,
    )
