"""Kernels of numeric libraries that no level of the recipe's `cpu` keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from layerpack.kernels import KERNELS_VERSION, LeftAlone, Variant, find_drops, has_kernels
from layerpack.manifest import PartRecord
from layerpack.passes.api import PassContext
from layerpack.passes.reduction import Reduction, kept
from layerpack.payload import FileEntry


class KernelReductions:
    """What a recipe's levels leave of libraries; `folder` is for what was found."""

    def __init__(self, context: PassContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._levels = context.recipe.cpu_levels

    def concern(self, entry: FileEntry) -> bool:
        """Whether a library may have kernels that go."""
        return bool(self._levels) and has_kernels(self._original(entry).source)

    def of(self, entry: FileEntry) -> Reduction:
        """What goes of a library that this concerns."""
        original = self._original(entry)
        key = (KERNELS_VERSION, original.sha256, self._levels)

        def make() -> Reduction:
            found = find_drops(original.source, self._levels)
            if isinstance(found, LeftAlone):
                return Reduction(reason=f"its kernels all stay: {found.reason}")
            left = f"its other kernels all stay: {found.left.reason}" if found.left else ""
            return Reduction(drops=found.drops, parts=tuple(_parts(found.variants)), reason=left)

        return kept(
            self._folder, "kernels", key, lambda: make().to_json(), read=Reduction.from_json
        )

    def _original(self, entry: FileEntry) -> FileEntry:
        """The library with all its symbols: removing them moves nothing, and may take names that
        tell of kernels."""
        before = self._context.originals.get(entry.path)
        if before is not None:
            return before
        # One that was moved as others' copy of it.
        name = entry.path.rpartition("/")[2]
        same = [x for x in self._context.originals.values() if x.path.endswith(f"/{name}")]
        return same[0] if len({one.sha256 for one in same}) == 1 else entry


def _parts(variants: Iterable[Variant]) -> Iterable[PartRecord]:
    for one in variants:
        why = f"a level of cpu has it ({one.level})" if one.kept else "no level of cpu has it"
        yield PartRecord(
            kind="variant", name=one.name, kept=one.kept, reason=why, code_bytes=one.size
        )
