"""What a build weighs, as values: totals against limits, and who takes the bytes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from layerpack.errors import LimitError
from layerpack.manifest import (
    FileInventory,
    FileRecord,
    FunctionRecord,
    LayerRecord,
    Manifest,
    RemarkRecord,
)
from layerpack.report.advice import Advice, advise, function_files
from layerpack.report.limit_use import LimitUse, limit_uses
from layerpack.report.proof import (
    ImportTimes,
    StartTimes,
    baseline_line,
    import_times,
    proof_line,
    start_times,
)
from layerpack.units import human_size

LARGEST = 15
#: What the function is called where it stands beside the layers.
FUNCTION = "function"
_PAGED_SUMS = (
    "original_bytes",
    "mapped_bytes",
    "paged_bytes",
    "compressed_bytes",
    "hot_pages",
    "dropped_bytes",
    "data_bytes",
    "size",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipSize:
    """A layer's zip, or the function's: sizes in bytes, `limit` that of a direct upload."""

    name: str
    file: str
    sha256: str
    files: int
    unzipped_bytes: int
    zipped_bytes: int
    limit: int
    distributions: tuple[str, ...]

    @property
    def needs_s3(self) -> bool:
        """Whether the zip is too large to be sent in the request itself."""
        return self.zipped_bytes > self.limit


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionSize:
    """A distribution: bytes of a plain install, as packed, and as packed and zipped."""

    name: str
    version: str
    kind: str
    files: int
    naive_bytes: int
    packed_bytes: int
    zipped_bytes: int
    layers: tuple[str, ...]

    @property
    def ratio(self) -> float | None:
        """`packed_bytes` as a part of `naive_bytes`; None where a plain install has none of it."""
        return self.packed_bytes / self.naive_bytes if self.naive_bytes else None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassSize:
    """A pass: files it changed, bytes it saved (below zero where it added files)."""

    name: str
    files: int
    bytes_before: int
    bytes_after: int

    @property
    def saved_bytes(self) -> int:
        """How much smaller the payload became."""
        return self.bytes_before - self.bytes_after


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """How many operators or variants (`kind`) of a library stay and how many go, and the bytes of
    code, not compressed, that are left out of it with them."""

    path: str
    kind: str
    kept: int
    gone: int
    dropped_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedSize:
    """A library whose code is stored compressed, or all of them, in bytes.

    `original_bytes`: before; `mapped_bytes`: loaded as they are; `paged_bytes`: code, and
    `data_bytes`: read-only data, which take `compressed_bytes`; `hot_pages` of code a workload
    touched; `dropped_bytes` of it were left out;
    `size`: the file as packed.
    """

    path: str
    distribution: str
    original_bytes: int
    mapped_bytes: int
    paged_bytes: int
    compressed_bytes: int
    hot_pages: int
    dropped_bytes: int
    data_bytes: int
    size: int

    @property
    def ratio(self) -> float:
        """`size` as a part of `original_bytes`."""
        return self.size / self.original_bytes if self.original_bytes else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RemarkGroup:
    """All remarks of one pass with one action and one reason: how many, bytes before and after."""

    pass_name: str
    action: str
    reason: str
    files: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeReport:
    """What a build weighs. Sizes in bytes; every list has the largest first, but `passes`
    (in the order that they ran) and `layers` (in the manifest's order).
    """

    name: str
    description: str
    runtime: str
    architecture: str
    unzipped_bytes: int
    zipped_bytes: int
    naive_bytes: int
    files: int
    limits: tuple[LimitUse, ...]
    layers: tuple[ZipSize, ...]
    function: ZipSize | None
    distributions: tuple[DistributionSize, ...]
    passes: tuple[PassSize, ...]
    paged: tuple[PagedSize, ...]
    left_out: tuple[LeftOut, ...]
    largest: tuple[FileRecord, ...]
    remarks: tuple[RemarkGroup, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...]
    proof: str = ""
    """One line on what was verified, or why it was not; empty for a build that does not tell."""
    starts: tuple[StartTimes, ...] = ()
    baseline: str = ""
    """What the plain install's times in `starts` were measured on; empty where there are none."""
    imports: tuple[ImportTimes, ...] = ()

    @property
    def over(self) -> tuple[LimitUse, ...]:
        """The limits that the build exceeds, warnings included."""
        return tuple(use for use in self.limits if use.excess)

    @property
    def exceeds(self) -> bool:
        """Whether a hard limit is exceeded (exit code 3)."""
        return any(use.hard for use in self.over)

    @property
    def saved_bytes(self) -> int:
        """How much smaller than the plain install the build is."""
        return self.naive_bytes - self.unzipped_bytes

    @property
    def zips(self) -> tuple[ZipSize, ...]:
        """The layers, then the function."""
        return (*self.layers, self.function) if self.function else self.layers

    @property
    def paged_total(self) -> PagedSize | None:
        """All of `paged` together; None where there are none. `path` and `distribution` say so."""
        if not self.paged:
            return None
        return PagedSize(
            path=f"{len(self.paged)} libraries" if len(self.paged) > 1 else "1 library",
            distribution="",
            **{name: sum(getattr(item, name) for item in self.paged) for name in _PAGED_SUMS},
        )

    @property
    def verdict(self) -> str:
        """One line: whether the build fits, and by how much (not)."""
        hard = [use for use in self.over if use.hard]
        if not hard:
            (unzipped,) = (use for use in self.limits if use.kind == "unzipped")
            room = f"fits, with {human_size(unzipped.room)} of room"
            large = sum(item.needs_s3 for item in self.zips)
            return f"{room}; {large} of {len(self.zips)} zips need S3" if large else room
        return "over: " + "; ".join(
            f"{use.subject} by {use.excess}"
            if use.kind == "layers"
            else f"{use.subject} by {human_size(use.excess)}"
            for use in hard
        )


def size_report(
    manifest: Manifest, inventory: FileInventory, *, largest: int = LARGEST
) -> SizeReport:
    """The report on a build; `largest` says how many of its largest files to list."""
    files = sorted(inventory.files, key=lambda file: (-file.size, file.path))
    uses = limit_uses(manifest)
    layer_files = Counter(file.layer for file in files)
    own_files = len(function_files(manifest, inventory))
    limit = manifest.limits.direct_upload_zip_bytes
    return SizeReport(
        name=manifest.name,
        description=manifest.description,
        runtime=manifest.runtime,
        architecture=manifest.architecture,
        unzipped_bytes=manifest.totals.unzipped_bytes,
        zipped_bytes=manifest.totals.zipped_bytes,
        naive_bytes=manifest.naive_unzipped_bytes,
        files=len(files),
        limits=uses,
        layers=tuple(
            _zip(layer.name, layer, layer_files[layer.name], limit, layer.distributions)
            for layer in manifest.layers
        ),
        function=_zip(FUNCTION, manifest.function, own_files, limit, ())
        if manifest.function
        else None,
        distributions=_distributions(manifest, inventory),
        passes=tuple(
            PassSize(
                name=item.name,
                files=item.files,
                bytes_before=item.bytes_before,
                bytes_after=item.bytes_after,
            )
            for item in manifest.passes
        ),
        paged=_paged(inventory),
        left_out=tuple(_left_out(inventory)),
        largest=tuple(files[:largest]),
        remarks=group_remarks(inventory.remarks),
        advice=advise(manifest, inventory, (use for use in uses if use.excess)),
        notes=manifest.notes,
        proof=proof_line(manifest.verified),
        starts=start_times(manifest.verified),
        baseline=baseline_line(manifest.verified),
        imports=import_times(manifest.verified),
    )


def limit_error(report: SizeReport) -> LimitError | None:
    """The error for a build that exceeds a hard limit, with the advice as its hint; else None."""
    if not report.exceeds:
        return None
    hard = {use.subject for use in report.over if use.hard}
    hint = "\n".join(
        f"{', '.join(advice.keys)}: {advice.text}: {named(advice)}"
        for advice in report.advice
        if advice.subject in hard
    )
    return LimitError(f"{report.name} is {report.verdict}", hint)


def named(advice: Advice) -> str:
    """The largest contributors of `advice` in one line: `mxnet 180.1 MB, spacy 40.2 MB`."""
    return ", ".join(f"{item.name} {human_size(item.bytes)}" for item in advice.largest)


def group_remarks(remarks: Iterable[RemarkRecord]) -> tuple[RemarkGroup, ...]:
    """Remarks with pass, action and reason in common as one; the largest change first."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for remark in remarks:
        sums = groups.setdefault((remark.pass_name, remark.action, remark.reason), [0, 0, 0])
        sums[0] += 1
        sums[1] += remark.bytes_before
        sums[2] += remark.bytes_after
    found = [
        RemarkGroup(
            pass_name=pass_name,
            action=action,
            reason=reason,
            files=files,
            bytes_before=before,
            bytes_after=after,
        )
        for (pass_name, action, reason), (files, before, after) in groups.items()
    ]
    found.sort(
        key=lambda g: (-abs(g.bytes_before - g.bytes_after), -g.files, g.pass_name, g.reason)
    )
    return tuple(found)


def _zip(
    name: str,
    record: LayerRecord | FunctionRecord,
    files: int,
    limit: int,
    distributions: tuple[str, ...],
) -> ZipSize:
    return ZipSize(
        name=name,
        file=record.file,
        sha256=record.sha256,
        files=files,
        unzipped_bytes=record.unzipped_bytes,
        zipped_bytes=record.zipped_bytes,
        limit=limit,
        distributions=distributions,
    )


def _left_out(inventory: FileInventory) -> Iterator[LeftOut]:
    for file in inventory.files:
        parts = file.paged.parts if file.paged else ()
        for kind in sorted({part.kind for part in parts}):
            kept = [part.kept for part in parts if part.kind == kind]
            yield LeftOut(
                path=file.path,
                kind=kind,
                kept=sum(kept),
                gone=len(kept) - sum(kept),
                dropped_bytes=file.paged.dropped_of(kind) if file.paged else 0,
            )


def _paged(inventory: FileInventory) -> tuple[PagedSize, ...]:
    found = [
        PagedSize(
            path=file.path,
            distribution=file.distribution,
            size=file.size,
            **{name: getattr(file.paged, name) for name in _PAGED_SUMS if name != "size"},
        )
        for file in inventory.files
        if file.paged
    ]
    return tuple(sorted(found, key=lambda item: (-item.original_bytes, item.path)))


def _distributions(manifest: Manifest, inventory: FileInventory) -> tuple[DistributionSize, ...]:
    files: Counter[str] = Counter()
    zipped: Counter[str] = Counter()
    for file in inventory.files:
        files[file.distribution] += 1
        zipped[file.distribution] += file.zipped
    found = [
        DistributionSize(
            name=item.name,
            version=item.version,
            kind=item.kind,
            files=files[item.name],
            naive_bytes=item.naive_bytes,
            packed_bytes=item.packed_bytes,
            zipped_bytes=zipped[item.name],
            layers=item.layers,
        )
        for item in manifest.distributions
    ]
    return tuple(sorted(found, key=lambda item: (-item.packed_bytes, item.name)))
