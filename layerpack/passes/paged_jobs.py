"""Packing one library: patched first, where some of its code goes, then bound, where the recipe
wants it, then packed; each kept by content.

A job may run in a process of its own. What it made lies in the cache; the note beside it tells
the figures, or why the library stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from layerpack.elf import ElfError, Refusal
from layerpack.elf.diet import DIET_VERSION, DietOptions, diet
from layerpack.elf.drops import NO_DROPS, Drops, patch
from layerpack.elf.drops_json import to_json
from layerpack.elf.index import pages_of
from layerpack.elf.pack import PACK_VERSION, PackOptions, pack
from layerpack.elf.ranges import pageable_ranges
from layerpack.elf.rewrite import REWRITE_VERSION
from layerpack.elf.windows import ZSTD
from layerpack.manifest import PagedRecord, PartRecord
from layerpack.passes.api import Edit, Keep, PassContext, Rewrite
from layerpack.passes.kept import KeptFile
from layerpack.units import key_of, sha256_bytes
from layerpack.workers import in_processes

# Below this many bytes, starting processes costs more than they save.
_WORTH_PROCESSES = 2 * 2**20
_FIGURES: Final = (
    *("mapped_bytes", "paged_bytes", "compressed_bytes", "hot_pages", "dropped_bytes"),
    "data_bytes",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackJob:
    """A library to pack.

    `keep`: the names in it that others look up, or None where it is not to be bound; `level` is
    zstd's; `runpath`: the pager's folder, from the library's; `inherits_rpath` as in PackOptions;
    `recordings` as in PassContext, and `mapped` whether what they name stays as it is; `drops` are
    left out, `variant_bytes` of that for processors' sake, and `parts` are reported; `data` tells
    whether read-only data is compressed too, `why_data` the reason, where it is not the recipe's,
    and `data_problem` why it must not be; `threads` compress (which changes no byte).
    """

    path: str
    size: int
    sha256: str
    source: Path
    folder: Path
    keep: frozenset[str] | None
    level: int
    runpath: str
    inherits_rpath: bool = False
    recordings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    mapped: bool = False
    threads: int = 1
    drops: Drops = NO_DROPS
    parts: tuple[PartRecord, ...] = ()
    variant_bytes: int = 0
    data: bool = False
    why_data: str = ""
    data_problem: str = ""

    @property
    def identity(self) -> str:
        """Equal for jobs that give the same result."""
        return key_of(self.sha256, self._kept_names(), self.mapped, *self._settings)

    def bind(self) -> None:
        """Make what is to be packed."""
        patched = self._patched()
        if patched is not None and not patched.is_whole():
            patched.make(self._patch)
        bound = self._bound()
        if bound is not None and not bound.is_whole():
            bound.make(self._bind)

    def packs(self) -> str | None:
        """The SHA-256 of what is to be packed; None while it is not bound."""
        source = self._input()
        return source[1] if source else None

    def input_file(self) -> Path | None:
        """What is to be packed; None while it is not bound."""
        source = self._input()
        return source[0] if source else None

    def is_done(self) -> bool:
        """Whether the result is there and whole."""
        packed = self._packed()
        return packed is not None and packed.is_whole()

    def execute(self) -> None:
        """Make the result."""
        self.bind()
        packed = self._packed()
        if packed is not None and not packed.is_whole():
            packed.make(self._pack)

    def edit(self, reason: str) -> Edit:
        """The edit that the result asks for; `reason` is that of a rewrite."""
        packed = self._packed()
        note = (packed.note() if packed else None) or {"refusal": "it was not packed"}
        if packed is None or "refusal" in note:
            return Keep(path=self.path, reason=note["refusal"])
        if self.mapped and note["hot_pages"]:
            reason += "; the pages that the workloads touched are stored uncompressed"
        if note["data_bytes"]:
            reason += "; its read-only data, too, is compressed, and decompressed at load"
            reason += f": {self.why_data}" if self.why_data else ""
        elif problem := self.data_problem or note["data_problem"]:
            reason += f"; its read-only data is stored unmodified: {problem}"
        figures = {name: note[name] for name in _FIGURES}
        return Rewrite(
            path=self.path,
            source=packed.file,
            reason=reason,
            paged=PagedRecord(
                original_bytes=self.size,
                parts=self.parts,
                dropped_variant_bytes=self.variant_bytes,
                **figures,
            ),
        )

    @property
    def is_refused(self) -> bool:
        """Whether the library stays as it is, once the job is done."""
        packed = self._packed()
        note = packed.note() if packed else None
        return note is None or "refusal" in note

    @property
    def stored_bytes(self) -> int:
        """The file's size in the layers, once the job is done."""
        packed = self._packed()
        if packed is None or self.is_refused:
            return self.size
        return packed.file.stat().st_size

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def _settings(self) -> tuple[Any, ...]:
        """What the result depends on, beside the bytes that it is made from."""
        gone = key_of(to_json(self._left_out)) if self.drops else ""
        return self._name, self.level, self.runpath, self.inherits_rpath, gone, self.data

    def _kept_names(self) -> str:
        """A digest of `keep`; names need not be UTF-8."""
        if self.keep is None:
            return ""
        names = sorted(name.encode(errors="surrogateescape") for name in self.keep)
        return sha256_bytes(b"\0".join(names))

    @property
    def _left_out(self) -> Drops:
        """What goes when it is packed: its patches were made before, as binding moves what they are
        for."""
        return replace(self.drops, patches=())

    def _patched(self) -> KeptFile | None:
        """The library that does not choose what goes; None where that takes no patches."""
        if not self.drops.patches:
            return None
        patches = [(one.vaddr, one.data.hex()) for one in self.drops.patches]
        key = key_of("patched", self.sha256, patches)
        return KeptFile(self.folder / "patched" / f"{key}.so")

    def _whole(self) -> tuple[Path, str] | None:
        """What is bound, and its SHA-256; None while it is not patched yet."""
        patched = self._patched()
        if patched is None:
            return self.source, self.sha256
        note = patched.note()
        return (patched.file, note["sha256"]) if note else None

    def _bound(self) -> KeptFile | None:
        """The library with its references bound; None where that is not wanted, or not patched."""
        whole = self._whole()
        if self.keep is None or whole is None:
            return None
        key = key_of("bound", DIET_VERSION, whole[1], self._kept_names())
        return KeptFile(self.folder / "bound" / f"{key}.so")

    def _input(self) -> tuple[Path, str] | None:
        """What is packed, and its SHA-256; None while the library is not bound yet."""
        whole, bound = self._whole(), self._bound()
        note = bound.note() if bound else {"refusal": ""}
        if whole is None or note is None:
            return None
        if bound is None or "refusal" in note:
            # One that cannot be bound can be packed all the same.
            return whole
        return bound.file, note["sha256"]

    def _packed(self) -> KeptFile | None:
        """The packed library; None while it is not known from what it is made."""
        source = self._input()
        if source is None:
            return None
        hot = self.recordings.get(source[1], ())
        versions = (PACK_VERSION, REWRITE_VERSION, ZSTD)
        mapped = self.mapped and bool(hot)
        key = key_of("packed", *versions, source[1], *self._settings, hot, mapped)
        return KeptFile(self.folder / "packed" / f"{key}.so")

    def _patch(self, made: Path) -> dict[str, Any]:
        patch(self.source, made, self.drops)
        return {}

    def _bind(self, made: Path) -> dict[str, Any] | Refusal:
        whole = self._whole()
        if whole is None:
            raise ValueError(f"{self.path} is to be bound before it is patched")
        result = diet(whole[0], made, DietOptions(keep=self.keep or frozenset()))
        return result if isinstance(result, Refusal) else {}

    def _pack(self, made: Path) -> dict[str, Any] | Refusal:
        bound = self._input()
        if bound is None:
            raise ValueError(f"{self.path} is to be packed before it is bound")
        # The pager's messages name the file as the packer saw it.
        source = made.with_name(self._name)
        source.symlink_to(bound[0].absolute())
        options = PackOptions(
            level=self.level,
            hot=_existing(self.recordings.get(bound[1], ()), source),
            mapped=self.mapped,
            pager_runpath=self.runpath,
            inherits_rpath=self.inherits_rpath,
            threads=self.threads,
            drops=self._left_out,
            data=self.data,
        )
        result = pack(source, made, options)
        if isinstance(result, Refusal):
            return result
        if result.packed_bytes >= self.size:
            return Refusal(reason="it would not become smaller")
        return {name: getattr(result, name) for name in (*_FIGURES, "data_problem")}


def _existing(pages: tuple[int, ...], library: Path) -> tuple[int, ...]:
    """The pages that there are: a recording lies in a file, which may be edited or outdated."""
    try:
        count = pages_of(pageable_ranges(library)) if pages else 0
    except ElfError:
        return ()
    return tuple(dict.fromkeys(page for page in pages if page < count))


def run(jobs: Iterable[PackJob], context: PassContext) -> None:
    """Execute the jobs that are not done, over the processors."""
    _share(PackJob.execute, [job for job in jobs if not job.is_done()], context)


def bind(jobs: Iterable[PackJob], context: PassContext) -> None:
    """Do the first half of the jobs' work, where it is not done."""
    _share(PackJob.bind, [job for job in jobs if job.packs() is None], context)


def _share(work: Callable[[PackJob], None], jobs: list[PackJob], context: PassContext) -> None:
    waiting = list({job.identity: job for job in jobs}.values())
    total = sum(job.size for job in waiting)
    processors = os.cpu_count() or 1
    # The largest first, and one that is more than a processor's share of all by several threads:
    # else the others would end long before it.
    ordered = [
        replace(job, threads=processors if job.size * processors > total else 1)
        for job in sorted(waiting, key=lambda job: -job.size)
    ]
    if total <= _WORTH_PROCESSES:
        for job in ordered:
            work(job)
        return
    done = 0
    with in_processes(work, ordered) as completed:
        for job in completed:
            done += job.size
            context.progress(done, total)
