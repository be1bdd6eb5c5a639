"""Libraries that stay plain beside packed ones: how they ask for signals (see elf/guard.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack import elf
from layerpack.elf import GuardOptions, Refusal
from layerpack.elf.guard import GUARD_VERSION
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.passes.kept import KeptFile
from layerpack.passes.paged_paths import SearchPaths
from layerpack.payload import FileEntry, Payload
from layerpack.units import key_of

_THROUGH: Final = "it asks for signals through the pager"
_PAST: Final = "it asks for signals past the pager"


def guarded(
    edits: Iterable[Edit],
    payload: Payload,
    context: PassContext,
    paths: SearchPaths,
    wished: Collection[str],
) -> Iterator[Edit]:
    """The edits, where libraries that stay as they are ask for signals through the pager.

    Those whose paths are `wished` are left alone all the same, and so is what cannot be changed;
    both are told of.
    """
    for edit in edits:
        if not isinstance(edit, Keep) or not _asks(payload[edit.path], context.profile.machine):
            yield edit
        elif edit.path in wished:
            yield Keep(path=edit.path, reason=f"{edit.reason}; {_PAST}")
        else:
            guard = _Guard(
                entry=payload[edit.path],
                folder=context.cache / "paged" / "guarded",
                options=paths.guard_options(edit.path),
            )
            yield guard.edit(edit.reason)


def _asks(entry: FileEntry, machine: str) -> bool:
    try:
        return elf.read_file(entry.source).machine == machine and elf.asks_for_signals(entry.source)
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
        key = key_of("guarded", GUARD_VERSION, self.entry.sha256, name, *options)
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
