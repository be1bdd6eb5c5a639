"""Store the code of shared libraries compressed within them (see elf/pack.py for how).

A packed library needs the pager, a small library that this pass adds to the layers' lib/, and
that brings its code in, a window at a time, when it is touched. Nothing is removed: what is not
touched merely stays compressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Final

from layerpack import elf
from layerpack.elf.pager import PAGER_SONAME, license_file, pager_file
from layerpack.passes.api import KEPT, RESERVE, Add, Edit, Keep, PassContext, Rewrite
from layerpack.passes.code import Code
from layerpack.passes.compile import bytecode_bytes
from layerpack.passes.paged_data import asked_for, where_room_asks
from layerpack.passes.paged_guards import UNNAMED, guarded
from layerpack.passes.paged_jobs import PackJob, bind
from layerpack.passes.paged_names import UnknownNamesError, kept_names
from layerpack.passes.paged_paths import SearchPaths
from layerpack.passes.paged_touched import stored
from layerpack.passes.patterns import matcher
from layerpack.passes.reductions import Reductions
from layerpack.passes.runner import applied
from layerpack.payload import ASSETS, LIBRARIES, FileEntry, Payload, is_library_name
from layerpack.recipe import Recipe

#: The distribution that the pager is listed under.
PAGER: Final = "layerpack-pager"
#: Where it lies in the layers.
PAGER_PATH: Final = f"{LIBRARIES}/{PAGER_SONAME}"
#: For a payload that is only run to see what it touches: it is soon packed anew.
_RECORDING_LEVEL: Final = 3
#: Bytecode's size beside its sources', where it is not measured: 1.86 for sympy, 1.59 for regex,
#: 1.54 for numpy, 1.2 for the bert recipe.
_BYTECODE_SHARE: Final = 2.0
_UNMODIFIED: Final = "nothing was removed; the library is stored unmodified"


class Paged:
    """Code of shared libraries, compressed, and the pager that brings it in."""

    name: ClassVar[str] = "paged"
    summary: ClassVar[str] = "code of shared libraries, stored compressed and paged in"
    after: ClassVar[frozenset[str]] = frozenset(
        {
            "bytecode",
            "tests",
            "docs",
            "sources",
            "metadata",
            "spacy-languages",
            "runtime-provided",
            "duplicates",
            "symbols",
        }
    )

    def wanted(self, recipe: Recipe) -> bool:
        """By default, though `auto` may find nothing to do; `native.store: plain` turns it off."""
        return recipe.native.store != "plain"

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Rewrite each library that becomes smaller; keep the others, with the reason, but for
        how they ask for signals."""
        return _plan(payload, context, context.recipe.native.level)


def pack_for_recording(payload: Payload, context: PassContext) -> Payload:
    """The payload as the pass would leave it, but packed fast, and without recorded pages.

    For a run with LAYERPACK_TRACE: page numbers depend on neither. `payload` and `context` are
    those that the pass gets; the same payload comes back where it would pack nothing.
    """
    plain = replace(context, recordings={})
    return applied(payload, list(_plan(payload, plain, _RECORDING_LEVEL, recording=True)))


def run_operators(
    payload: Payload, context: PassContext, probes: Mapping[str, set[int]]
) -> frozenset[str] | None:
    """MXNet's operators that ran, by the probes that a recording reached; None where it had none.

    `probes` are addresses by the SHA-256 of what was packed.
    """
    if not context.recipe.mxnet.records:
        return None
    paths = packing_inputs(payload, context)
    reductions = Reductions(payload, context, lambda: _bound_names(payload, context)[0])
    found: set[str] = set()
    for digest, addresses in probes.items():
        found |= reductions.run_operators(payload[paths[digest]], addresses)
    return frozenset(found)


def pager_licences(payload: Payload) -> dict[str, tuple[FileEntry, ...]]:
    """The pager's licence texts as `metadata.licence_files` gives them; none without a pager."""
    if PAGER_PATH not in payload:
        return {}
    # It has zstd's decoder in it, whose licence asks to be passed on.
    licence = license_file()
    return {PAGER: (FileEntry.of(licence, licence.name, PAGER),)}


def packing_inputs(payload: Payload, context: PassContext) -> dict[str, str]:
    """SHA-256 -> path of what the pass would pack: libraries as a trace names them.

    Binds references where that is not done, and packs nothing. Libraries that the packer then
    refuses are among them; none where the pass would leave all as they are.
    """
    chosen, _ = _chosen(payload, context)
    jobs, _ = _jobs(payload, chosen, context, _RECORDING_LEVEL, recording=True)
    bind(jobs, context)
    return {digest: job.path for job in jobs if (digest := job.packs()) is not None}


def _plan(
    payload: Payload, context: PassContext, level: int, *, recording: bool = False
) -> Iterator[Edit]:
    chosen, left = _chosen(payload, context)
    if not recording:
        _warn_of_kept_ones(left, payload, context)
    jobs, unbound = _jobs(payload, chosen, context, level, recording=recording)
    if not jobs:
        yield from [] if _fits(payload, context) else left
        yield from _as_they_are(chosen, jobs)
        return
    # First: an hour's packing would be in vain without it.
    pager = pager_file(context.profile.machine)
    needed = _needed(payload, context, before_code=True)
    if not recording:
        jobs = asked_for(jobs, (*payload, *context.function), context)
    jobs = stored(jobs, context, needed=needed, least=pager.stat().st_size)
    if not recording:
        more = pager.stat().st_size
        jobs = where_room_asks(jobs, context, needed=_needed(payload, context) + more)
    reason = "its code is stored compressed, and paged in when it is touched"
    if _fits(payload, context):
        reason += ", as the recipe leaves some of it out"
    elif context.recipe.native.store == "auto":
        reason += ": the layers would not fit otherwise"
    reason += unbound
    left += _as_they_are(chosen, jobs)
    edits = [*left, *_with_pager([job.edit(reason) for job in jobs], pager)]
    _warn_of_whole_ones(jobs, edits, context)
    if any(isinstance(edit, Rewrite) for edit in edits):
        wished = {edit.path for edit in left}
        paths = SearchPaths(payload)
        edits = list(guarded([*edits, *_unnamed(payload)], payload, context, paths, wished))
    yield from edits


def _as_they_are(chosen: list[FileEntry], jobs: list[PackJob]) -> list[Edit]:
    """Keep for libraries that could be packed, and are not to be."""
    packed = {job.path for job in jobs}
    why = "the library is stored unmodified: the layers fit (native.store)"
    return [Keep(path=entry.path, reason=why) for entry in chosen if entry.path not in packed]


def _warn_of_whole_ones(jobs: list[PackJob], edits: list[Edit], context: PassContext) -> None:
    """Warn where nothing was removed from a library, though the recipe asks for it."""
    kept = {edit.path: edit.reason for edit in edits if isinstance(edit, Keep)}
    for job in jobs:
        if job.drops and job.path in kept:
            context.warn(f"{job.path}: {_UNMODIFIED}: {kept[job.path]}")


def _warn_of_kept_ones(left: list[Edit], payload: Payload, context: PassContext) -> None:
    """Tell where the recipe asks to leave something out of a library that it keeps as it is, or of
    one that there is not."""
    reductions = Reductions(payload, context, lambda: None)
    if missing := reductions.missing():
        context.warn(missing)
    for edit in left:
        entry = payload.get(edit.path)
        if isinstance(edit, Keep) and entry is not None and reductions.concern(entry):
            context.warn(f"{edit.path}: {_UNMODIFIED}: {edit.reason}")


def _jobs(
    payload: Payload,
    chosen: list[FileEntry],
    context: PassContext,
    level: int,
    *,
    recording: bool,
) -> tuple[list[PackJob], str]:
    """The jobs, and a note for each one's reason.

    Where the layers fit, libraries that nothing is left out of stay as they are. For a `recording`
    nothing is left out, and the libraries report which of their code runs.
    """
    fits = _fits(payload, context)
    known = cache(lambda: _bound_names(payload, context))
    reductions = Reductions(payload, context, lambda: known()[0], recording=recording)
    if fits:
        chosen = [entry for entry in chosen if reductions.concern(entry)]
    if not chosen:
        return [], ""
    names, unbound = known()
    paths = SearchPaths(payload)
    jobs = []
    for entry in chosen:
        found = reductions.of(entry)
        if found.reason and not recording:
            context.warn(f"{entry.path}: {found.reason}")
        if fits and not found.drops:
            continue
        jobs.append(
            PackJob(
                path=entry.path,
                size=entry.size,
                sha256=entry.sha256,
                source=entry.source,
                folder=context.cache / "paged",
                keep=names.get(entry.path) if names is not None else None,
                level=level,
                runpath=paths.pager_folder(entry.path),
                inherits_rpath=paths.inherits_rpath(entry.path),
                recordings=dict(context.recordings),
                drops=found.drops,
                parts=found.parts,
                variant_bytes=found.variant_bytes,
            )
        )
    return jobs, unbound


def _bound_names(
    payload: Payload, context: PassContext
) -> tuple[Mapping[str, frozenset[str]] | None, str]:
    """The names that binding must leave, by library; None without binding, and why, if that is
    not the recipe's wish."""
    if not context.recipe.native.bind:
        return None, ""
    try:
        return kept_names(payload, context.function, context.profile.machine), ""
    except UnknownNamesError as error:
        # A name that it looks up must not go: it would fail on Lambda, and nowhere before.
        return None, f"; all its names stay, as what {error.path} looks up cannot be told"


def _fits(payload: Payload, context: PassContext) -> bool:
    """Whether `auto` leaves libraries as they are."""
    if context.recipe.native.store != "auto" or context.room < RESERVE:
        return False
    return context.room >= _needed(payload, context)


def _needed(payload: Payload, context: PassContext, *, before_code: bool = False) -> int:
    """The room, in bytes, that must be left for a payload to fit as it is; `before_code`: as much
    as bytecode takes where it is made as far as there is room."""
    bytecode = context.recipe.strip.bytecode
    if bytecode == "unchecked-hash":
        # It comes later, and whatever it costs: what the limits hang on is measured.
        measured = bytecode_bytes(payload, context)
        if measured is not None:
            return RESERVE + measured
    elif not (before_code and bytecode == "auto"):
        return RESERVE
    sources = sum(entry.size for entry in Code(payload).sources)
    return RESERVE + int(sources * _BYTECODE_SHARE)


def _with_pager(edits: list[Edit], pager: Path) -> Iterator[Edit]:
    """The edits and the pager, where they save more than it takes."""
    packed = [edit for edit in edits if isinstance(edit, Rewrite)]
    saved = sum(
        edit.paged.original_bytes - edit.source.stat().st_size for edit in packed if edit.paged
    )
    added = FileEntry.of(pager, PAGER_PATH, PAGER)
    if packed and saved <= added.size:
        why = "the pager would take more than packing libraries saves"
        edits = [Keep(path=e.path, reason=why) if isinstance(e, Rewrite) else e for e in edits]
    yield from edits
    if any(isinstance(edit, Rewrite) for edit in edits):
        yield Add(entry=added, reason="brings in the code of packed libraries")


def _chosen(payload: Payload, context: PassContext) -> tuple[list[FileEntry], list[Edit]]:
    """The libraries to pack, and Keep for those that are not to be."""
    kept = matcher(context.recipe.strip.keep)
    plain = matcher(context.recipe.native.keep_plain)
    chosen: list[FileEntry] = []
    left: list[Edit] = []
    for entry in payload:
        # Assets are the user's own data.
        if not is_library_name(entry.path) or entry.path.startswith(f"{ASSETS}/"):
            continue
        if not elf.is_elf(entry.source):
            continue
        if kept(payload, entry.path):
            left.append(Keep(path=entry.path, reason=KEPT))
        elif plain(payload, entry.path):
            left.append(Keep(path=entry.path, reason="kept plain by native.keep-plain"))
        elif problem := _problem(entry, context.profile.machine):
            left.append(Keep(path=entry.path, reason=problem))
        else:
            chosen.append(entry)
    return chosen, left


def _unnamed(payload: Payload) -> Iterator[Keep]:
    """What may be loaded though it is not called as libraries are."""
    for entry in payload:
        is_asset = entry.path.startswith(f"{ASSETS}/")
        if not is_asset and not is_library_name(entry.path) and elf.is_elf(entry.source):
            yield Keep(path=entry.path, reason=UNNAMED)


def _problem(entry: FileEntry, machine: str) -> str | None:
    try:
        library = elf.read_file(entry.source)
    except elf.ElfError as error:
        return error.reason
    return None if library.machine == machine else f"it is for {library.machine}"
