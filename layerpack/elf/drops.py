"""Code of a library that is left out when it is packed, and what is said where it is missed.

Code that is left out is overwritten with instructions that fault wherever one jumps to them, so
that it takes no room once compressed. The index of the packed library tells the pager what was
there (`pager/format.h`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from layerpack.elf.dynamic import Image
from layerpack.elf.format import ElfError
from layerpack.elf.read import read

#: HLT; ADR x16, 0 and BR xzr (see `pager/format.h`).
_FILLERS: Final = {"x86_64": b"\xf4", "aarch64": b"\x10\x00\x00\x10\xe0\x03\x1f\xd6"}
_WORD: Final = {"x86_64": 1, "aarch64": 4}
#: Levels of processors, each above those before it on its machine.
_LEVELS: Final = ("", "baseline", "neon", "avx2", "avx512", "sve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Code from `start` up to `end` that is left out; `name` is the symbol there (empty without
    one), `hint` what brings it back: `add 'avx512' to cpu.x86_64 in the recipe`."""

    start: int
    end: int
    name: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """Bytes of the library's memory, as its file has it, that are replaced: `data` at `vaddr`."""

    vaddr: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The start of a dropped function that throws a C++ exception instead of ending the
    process. Its message is `before`, a name and `after`.

    `name` is what was wanted, as far as the function tells. One that several share is called with
    an argument (1: the first, 2: the second) that tells: from it, `steps` times the first word of
    what it points to leads to the name.
    """

    vaddr: int
    before: str
    name: str
    after: str
    argument: int = 0
    steps: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Drops:
    """What is left out of one library.

    `patches` see to it that the library never chooses removed code. `thrower` is the address of
    code in the library that throws an exception with the text that it is given (its PLT entry for
    std::__throw_logic_error, say), 0 where there are no `entries`. `needs` is the level of
    processor (`avx2`) without which the library must not start, empty for any; `needs_hint` says
    what to do then. `probes` are addresses of instructions that a recording tells of when they run
    (x86_64 only). `cleared` are extents, (start, end), that are filled with zeroes, as nothing
    reads them any more. `laid` is code that takes the place of what is dropped.
    """

    dropped: tuple[Dropped, ...] = ()
    patches: tuple[Patch, ...] = ()
    entries: tuple[Entry, ...] = ()
    thrower: int = 0
    needs: str = ""
    needs_hint: str = ""
    probes: tuple[int, ...] = ()
    cleared: tuple[tuple[int, int], ...] = ()
    laid: tuple[Patch, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of code that are left out."""
        return sum(one.end - one.start for one in self.dropped)

    def __bool__(self) -> bool:
        """Whether anything is done to the library."""
        return bool(self.dropped or self.patches or self.needs or self.probes)


#: Nothing.
NO_DROPS: Final = Drops()


def merged(drops: Iterable[Drops]) -> Drops:
    """What several reasons leave out of one library, together.

    The first of them reports code that two drop; the highest level of processor counts. Raises
    ValueError where they contradict.
    """
    result = NO_DROPS
    for one in drops:
        if {result.thrower, one.thrower} - {0, result.thrower or one.thrower}:
            raise ValueError("two ways to throw")
        highest = max(result, one, key=lambda drops: _LEVELS.index(drops.needs))
        taken = sorted((known.start, known.end) for known in result.dropped)
        result = replace(
            result,
            dropped=_sorted([*result.dropped, *_outside(one.dropped, taken)]),
            patches=result.patches + one.patches,
            entries=result.entries + one.entries,
            thrower=result.thrower or one.thrower,
            needs=highest.needs,
            needs_hint=highest.needs_hint,
            probes=result.probes + one.probes,
            cleared=result.cleared + one.cleared,
            laid=result.laid + one.laid,
        )
    return result


def patch(source: Path, destination: Path, drops: Drops) -> None:
    """Write a library with its `patches` to `destination`.

    Raises ElfError for those of what is not loaded, and OSError.
    """
    whole = source.read_bytes()
    library = read(whole)
    data = bytearray(whole)
    image = Image(memoryview(whole), library.loads)
    overwritten(data, image, Drops(patches=drops.patches), library.machine)
    destination.write_bytes(data)


def overwritten(data: bytearray, image: Image, drops: Drops, machine: str) -> None:
    """Leave `drops` out of `data`, a library's bytes; `image` tells where they are loaded.

    Raises ElfError for what is not loaded, or is no whole number of instructions.
    """
    filler, word = _FILLERS[machine], _WORD[machine]
    for patch in drops.patches:
        at = image.offset(patch.vaddr, len(patch.data))
        data[at : at + len(patch.data)] = patch.data
    for one in drops.dropped:
        size = one.end - one.start
        if size <= 0 or one.start % word or size % word:
            raise ElfError(f"what would be left out at {one.start:#x} is no code")
        at = image.offset(one.start, size)
        data[at : at + size] = (filler * (size // len(filler) + 1))[:size]
    for start, end in drops.cleared:
        at = image.offset(start, end - start)
        data[at : at + end - start] = bytes(end - start)
    for code in drops.laid:
        at = image.offset(code.vaddr, len(code.data))
        data[at : at + len(code.data)] = code.data
    for probe in drops.probes:
        data[image.offset(probe, 1)] = filler[0]


def _sorted(dropped: Iterable[Dropped]) -> tuple[Dropped, ...]:
    return tuple(sorted(dropped, key=lambda one: one.start))


def _outside(dropped: Iterable[Dropped], taken: list[tuple[int, int]]) -> list[Dropped]:
    """The parts that are not `taken` (sorted, apart)."""
    parts = []
    for one in dropped:
        start = one.start
        for first, last in taken[max(bisect_right(taken, (start, 0)) - 1, 0) :]:
            if first >= one.end:
                break
            if last <= start:
                continue
            if first > start:
                parts.append(replace(one, start=start, end=first))
            start = max(start, last)
        if start < one.end:
            parts.append(replace(one, start=start))
    return parts
