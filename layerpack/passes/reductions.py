"""What a recipe leaves out of which library: operators of MXNet, kernels for processors.

A library of an unknown version is stored unmodified, with a warning and not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from layerpack.elf import ElfError
from layerpack.elf.drops import merged
from layerpack.operators.choose import UnsureError
from layerpack.operators.registry import RegistryError
from layerpack.passes.api import PassContext
from layerpack.passes.reduced_kernels import KernelReductions
from layerpack.passes.reduced_operators import OperatorReductions
from layerpack.passes.reduction import Reduction
from layerpack.payload import FileEntry, Payload

_CANNOT: Final = (RegistryError, UnsureError, ElfError)


class Reductions:
    """What a recipe leaves out of the libraries of a payload.

    `names` are those that others look up in each library, by its path (see paged_names); None
    where they are not known. For a `recording` operators stay, and tell when they run.
    """

    def __init__(
        self,
        payload: Payload,
        context: PassContext,
        names: Callable[[], Mapping[str, frozenset[str]] | None],
        *,
        recording: bool = False,
    ) -> None:
        folder = context.cache / "reduced"
        self._kernels = KernelReductions(context, folder)
        self._operators = OperatorReductions(payload, context, names, folder)
        self._recording = recording

    def concern(self, entry: FileEntry) -> bool:
        """Whether the recipe may leave out something of a library."""
        return self._operators.concern(entry) or self._kernels.concern(entry)

    def missing(self) -> str:
        """What the recipe asks to leave something out of and is not there; empty for nothing."""
        return self._operators.missing()

    def of(self, entry: FileEntry) -> Reduction:
        """What goes of a library, and why nothing does."""
        found = []
        if self._operators.concern(entry):
            found.append(self._of_operators(entry))
        operator_bytes = sum(one.drops.size for one in found)
        if self._kernels.concern(entry):
            found.append(self._kernels.of(entry))
        drops = merged(one.drops for one in found)
        return Reduction(
            drops=drops,
            # Code that both drop is reported by the first.
            variant_bytes=drops.size - operator_bytes,
            parts=tuple(part for one in found for part in one.parts),
            reason="; ".join(one.reason for one in found if one.reason),
        )

    def _of_operators(self, entry: FileEntry) -> Reduction:
        try:
            if not self._recording:
                return self._operators.of(entry)
            watched = self._operators.watched(entry)
            return Reduction(drops=self._operators.probes(entry)) if watched else Reduction()
        except _CANNOT as error:
            # Told once, where the layers are packed.
            return (
                Reduction()
                if self._recording
                else Reduction(reason=f"its operators all stay: {error}")
            )

    def run_operators(self, entry: FileEntry, addresses: Iterable[int]) -> frozenset[str]:
        """The operators whose probes are among the addresses."""
        return self._operators.run_operators(entry, addresses)
