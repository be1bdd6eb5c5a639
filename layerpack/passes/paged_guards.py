"""Libraries that stay plain beside packed ones: how they ask for signals (see elf/guard.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack import elf
from layerpack.elf import GuardOptions, Refusal
from layerpack.elf.format import PT_INTERP
from layerpack.elf.guard import GUARD_VERSION
from layerpack.elf.rewrite import REWRITE_VERSION
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.passes.kept import KeptFile
from layerpack.passes.paged_paths import SearchPaths
from layerpack.payload import ASSETS, FileEntry, Payload
from layerpack.units import key_of

_THROUGH: Final = "it asks for signals through the pager"
_PAST: Final = "it asks for signals past the pager"
#: Why a file is none of those that are packed; without signals it is not told of.
UNNAMED: Final = "it is not called as libraries are"


def guarded(
    edits: Iterable[Edit],
    payload: Payload,
    context: PassContext,
    paths: SearchPaths,
    wished: Collection[str],
) -> Iterator[Edit]:
    """The edits, where libraries that stay as they are ask for signals through the pager.

    Those whose paths are `wished` are left alone all the same, and so is what cannot be changed;
    both are reported, and so are those of the function package and of assets.
    """
    machine = context.profile.machine
    assets = (entry for entry in payload if entry.path.startswith(f"{ASSETS}/"))
    for entry in (*context.function, *assets):
        # The user's own, which no pass changes.
        if elf.is_elf(entry.source) and _asks(entry, machine):
            _warn(context, entry.path)
    for edit in edits:
        if not isinstance(edit, Keep) or not _asks(payload[edit.path], machine):
            if edit.reason != UNNAMED:
                yield edit
        elif edit.path in wished:
            _warn(context, edit.path)
            yield Keep(path=edit.path, reason=f"{edit.reason}; {_PAST}")
        else:
            guard = _Guard(
                entry=payload[edit.path],
                folder=context.cache / "paged" / "guarded",
                options=paths.guard_options(edit.path),
            )
            made = guard.edit(edit.reason)
            if isinstance(made, Keep):
                _warn(context, edit.path)
            yield made


def _warn(context: PassContext, what: str) -> None:
    context.warn(
        f"{what} asks for signals past the pager: if it takes SIGSEGV, or blocks it, code that is "
        "paged cannot be brought in"
    )


def _asks(entry: FileEntry, machine: str) -> bool:
    try:
        library = elf.read_file(entry.source)
        # A program runs by itself, and the pager sees to it where it loads packed libraries.
        is_program = any(segment.type == PT_INTERP for segment in library.segments)
        if library.machine != machine or is_program:
            return False
        return elf.asks_for_signals(entry.source)
    except elf.ElfError:
        # What cannot be read is not loaded either.
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Guard:
    """A library to rewrite; results are kept in `folder`."""

    entry: FileEntry
    folder: Path
    options: GuardOptions

    def edit(self, why_plain: str) -> Edit:
        """The edit, the result being made where it is not there."""
        name = self.entry.path.rpartition("/")[2]
        options = (self.options.pager_runpath, self.options.inherits_rpath)
        key = key_of("guarded", GUARD_VERSION, REWRITE_VERSION, self.entry.sha256, name, *options)
        kept = KeptFile(self.folder / f"{key}.so")
        if not kept.is_whole():
            kept.make(self._make)
        refusal = (kept.note() or {}).get("refusal")
        if refusal is None:
            reason = f"{why_plain}; {_THROUGH}"
            return Rewrite(path=self.entry.path, source=kept.file, reason=reason)
        # Packing is refused for the same reasons, in the same words.
        cause = "" if refusal == why_plain else f", as {refusal}"
        return Keep(path=self.entry.path, reason=f"{why_plain}; {_PAST}{cause}")

    def _make(self, made: Path) -> dict[str, Any] | Refusal:
        # The pager's messages name the file as it was here.
        source = made.with_name(self.entry.path.rpartition("/")[2])
        source.symlink_to(self.entry.source.absolute())
        result = elf.guard(source, made, self.options)
        return result if isinstance(result, Refusal) else {}
