"""Code of a library that is left out when it is packed, and what is said where it is missed.

Dropped code is overwritten with an instruction that faults wherever one jumps to it, so that it
takes no room once compressed. The index of the packed library tells the pager what was there (see
`pager/format.h`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
    """The start of a dropped function whose callers are told by a C++ exception (std::logic_error)
    with the message `text`, instead of ending the process."""

    vaddr: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drops:
    """What is left out of one library.

    `patches` see to it that the library never chooses what is gone. `thrower` is the address of
    the library's own way to std::__throw_logic_error (its PLT entry), 0 where there are no
    `entries`. `needs` is the level of processor (`avx2`) without which the library must not start,
    empty for any; `needs_hint` says what to do then.
    """

    dropped: tuple[Dropped, ...] = ()
    patches: tuple[Patch, ...] = ()
    entries: tuple[Entry, ...] = ()
    thrower: int = 0
    needs: str = ""
    needs_hint: str = ""

    @property
    def size(self) -> int:
        """Bytes of code that are left out."""
        return sum(one.end - one.start for one in self.dropped)


def merged(drops: Iterable[Drops]) -> Drops:
    """What several reasons leave out of one library, together.

    Code that two of them drop is told by the first. Raises ValueError where patches contradict.
    """
    raise NotImplementedError
