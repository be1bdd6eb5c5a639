"""Have a library ask for signals through the pager, without any of its code being paged.

SIGSEGV is how the pager hears of a missing page. A library that calls `signal` or
`pthread_sigmask` of libc beside packed ones may take the handler away, or start a thread that dies
at its first page. The pager points such calls at its own functions for what is loaded when it
looks (pager/redirect.c); a library that comes later, and calls from its constructor, is too late
for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf.dynamic import read_dynamic
from layerpack.elf.filter import NONE
from layerpack.elf.format import ElfError
from layerpack.elf.read import map_file, read
from layerpack.elf.rewrite import plan, read_original, search_path, write
from layerpack.elf.strip import Refusal
from layerpack.elf.windows import Compressed

#: Part of a cache's key: another number means that other bytes may come out.
GUARD_VERSION: Final = 2
_NOTHING: Final = Compressed(windows=(), frames=(), filter=NONE, filter_bits=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardOptions:
    """Where the library finds the pager: as in PackOptions."""

    pager_runpath: str | None = None
    inherits_rpath: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardResult:
    """What was written: the whole files' bytes, and the imports that the pager answers."""

    original_bytes: int
    guarded_bytes: int
    renamed_imports: tuple[str, ...]


def asks_for_signals(path: Path) -> bool:
    """Whether a library imports functions that the pager must answer. Raises ElfError."""
    view = map_file(path)
    return bool(read_dynamic(view, read(view)).imports)


def guard(source: Path, destination: Path, options: GuardOptions) -> GuardResult | Refusal:
    """Write `source`, with the pager's functions for libc's, to `destination` (which it may be).

    The result is read back as a packed one is. A library that cannot be rewritten, or asks for no
    signals, is a Refusal, and nothing is written. Raises OSError.
    """
    try:
        original = read_original(source)
        imports = original.section.imports
        if not imports:
            return Refusal(reason="it asks for no signals")
        search = search_path(
            original.library, options.pager_runpath, inherits_rpath=options.inherits_rpath
        )
        planned = plan(original, (), _NOTHING, search)
        write(planned, original, destination)
    except ElfError as error:
        return Refusal(reason=error.reason)
    return GuardResult(
        original_bytes=len(original.view),
        guarded_bytes=planned.size,
        renamed_imports=tuple(one.name for one in imports),
    )
