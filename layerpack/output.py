"""From a stripped payload to the files of a build folder: zips, manifest, inventory, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from layerpack import __version__
from layerpack.answers import Answers
from layerpack.archive import COMPRESSOR, MEMBERS_MAX, Packed, compress_all, member_size, write_zip
from layerpack.assets import AssetRecord
from layerpack.builders.api import SystemLibrary, WheelFile
from layerpack.cache import Cache
from layerpack.function_package import Refusal, left_out_note
from layerpack.layers import LayerPlan, PlannedLayer, group, licence_path, plan_layers
from layerpack.limits import LambdaLimits
from layerpack.lock import Lock
from layerpack.manifest import (
    DistributionRecord,
    FileInventory,
    FileRecord,
    FunctionRecord,
    Kind,
    LayerRecord,
    LimitsRecord,
    Manifest,
    PagedRecord,
    RemarkRecord,
    SystemLibraryRecord,
    Totals,
)
from layerpack.passes.api import Remark
from layerpack.passes.paged import PAGER, pager_licences
from layerpack.passes.runner import Outcome
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.report.html import html_report
from layerpack.report.model import size_report
from layerpack.system_libraries import SYSTEM
from layerpack.units import keep_by_content, write_text

LICENCES = "licenses"


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What the stages before the zips made.

    `system`: soname, library and SHA-256 of each that was bundled; `interpreter`: the version of
    the target's Python here, empty where there is none; `image`: what was built in, with its
    digest, empty for this machine; `naive`: the payload before any pass;
    `licences`: each distribution's licence files; `left_out`: what the function package lacks of
    the function's folder.
    """

    recipe: Recipe
    lock: Lock
    limits: LambdaLimits
    wheels: tuple[WheelFile, ...]
    assets: tuple[AssetRecord, ...]
    system: tuple[tuple[str, SystemLibrary, str], ...]
    interpreter: str
    image: str
    naive: Payload
    outcome: Outcome
    licences: Mapping[str, tuple[FileEntry, ...]]
    function: tuple[FileEntry, ...] | None
    left_out: tuple[Refusal, ...] = ()


def write_build(
    built: Built, folder: Path, cache: Cache, progress: Callable[[int, int], None]
) -> tuple[str, ...]:
    """Write layers, function package, manifest, inventory and report into `folder`.

    Returns what the user should be warned of.
    """
    kept = cache.folder("deflated")
    payload = built.outcome.payload
    packed = compress_all([*payload, *(built.function or ())], kept, progress)

    def zipped(entry: FileEntry) -> int:
        return member_size(entry, packed[entry.sha256])

    plan = plan_layers(
        group(payload, zipped),
        zipped,
        name=built.recipe.name,
        at_most=built.recipe.layers.max,
        zip_bytes=built.limits.direct_upload_zip_bytes
        if built.recipe.layers.direct_upload
        else None,
        # A layer's licences are one file more.
        zip_files=MEMBERS_MAX - 1,
        anywhere=[PAGER],
    )
    layers = []
    files = []
    # The last one counts: a pass of the recipe's own may have rewritten a packed library.
    paged = {one.path: one.paged for one in built.outcome.remarks if one.action == "rewrite"}
    texts = {**built.licences, **pager_licences(payload)}
    for layer in plan.layers:
        licences = _licences(layer, built.system, texts, cache.folder("licences"))
        packed |= compress_all(licences, kept)
        entries = (*layer.entries, *licences)
        record = write_zip(folder / "layers" / f"{layer.name}.zip", entries, packed)
        layers.append(
            LayerRecord(
                name=layer.name,
                file=f"layers/{layer.name}.zip",
                sha256=record.sha256,
                zipped_bytes=record.zipped_bytes,
                unzipped_bytes=record.unzipped_bytes,
                distributions=tuple(sorted({entry.distribution for entry in layer.entries})),
            )
        )
        files += [_file(entry, packed, layer.name, paged.get(entry.path)) for entry in entries]
    function = _function(built, folder, packed)
    if function is not None:
        files += [_file(entry, packed, "function", None) for entry in built.function or ()]
    manifest = _manifest(built, plan, tuple(layers), function)
    manifest.write(folder / "manifest.json")
    inventory = FileInventory(
        files=tuple(sorted(files, key=lambda file: (file.layer, file.path))),
        remarks=(
            *map(_left_out, built.left_out),
            *(_remark(remark) for remark in built.outcome.remarks),
        ),
    )
    inventory.write(folder / "files.json")
    _write_page(folder, manifest, inventory)
    return plan.notes


def write_proof(folder: Path, verified: dict[str, Any], answers: Answers | None = None) -> None:
    """Write what was verified into a build's manifest and its page, and the answers beside it."""
    manifest = replace(Manifest.read(folder / "manifest.json"), verified=verified)
    manifest.write(folder / "manifest.json")
    if answers is None:
        Answers.remove(folder)
    else:
        answers.write(folder)
    _write_page(folder, manifest, FileInventory.read(folder / "files.json"))


def _write_page(folder: Path, manifest: Manifest, inventory: FileInventory) -> None:
    page = html_report(size_report(manifest, inventory), inventory)
    write_text(folder / "report.html", page)


def _licences(
    layer: PlannedLayer,
    system: Iterable[tuple[str, SystemLibrary, str]],
    texts: Mapping[str, tuple[FileEntry, ...]],
    cache: Path,
) -> tuple[FileEntry, ...]:
    """One file with the licences of all that is in a layer; `texts` has them by distribution."""
    parts = []
    for name in sorted({entry.distribution for entry in layer.entries}):
        for entry in texts.get(name, ()):
            text = entry.source.read_bytes().decode("utf-8", "replace")
            title = f"{name}: {entry.path.rsplit('/', 1)[-1]}"
            parts.append(f"{title}\n{'=' * len(title)}\n\n{text.strip()}\n")
        if name == SYSTEM:
            for soname, library, _ in system:
                licence = library.licence or "see that system's package"
                parts.append(f"{soname}, from {library.origin}: {licence}\n")
    if not parts:
        return ()
    data = "\n\n".join(parts).encode()
    file = keep_by_content(cache, data)
    return (FileEntry.of(file, licence_path(layer.name), LICENCES),)


def _function(built: Built, folder: Path, packed: dict[str, Packed]) -> FunctionRecord | None:
    if built.function is None or built.recipe.function is None:
        return None
    record = write_zip(folder / "function.zip", built.function, packed)
    return FunctionRecord(
        file="function.zip",
        handler=built.recipe.function.handler,
        sha256=record.sha256,
        zipped_bytes=record.zipped_bytes,
        unzipped_bytes=record.unzipped_bytes,
        budget_bytes=built.recipe.function.budget,
        environment=dict(built.recipe.function.environment),
    )


def _file(
    entry: FileEntry, packed: dict[str, Packed], layer: str, paged: PagedRecord | None
) -> FileRecord:
    return FileRecord(
        path=entry.path,
        size=entry.size,
        zipped=packed[entry.sha256].size,
        sha256=entry.sha256,
        distribution=entry.distribution,
        layer=layer,
        paged=paged,
    )


def _left_out(refusal: Refusal) -> RemarkRecord:
    return RemarkRecord(
        pass_name="function",  # noqa: S106 (no password)
        action="remove",
        path=refusal.path,
        distribution="function",
        reason=refusal.reason,
        # What is not deployed is not read either.
        bytes_before=0,
        bytes_after=0,
    )


def _remark(remark: Remark) -> RemarkRecord:
    record = RemarkRecord(**{field.name: getattr(remark, field.name) for field in fields(remark)})
    # The file's own record has them.
    return replace(record, paged=replace(record.paged, parts=())) if record.paged else record


def _manifest(
    built: Built,
    plan: LayerPlan,
    layers: tuple[LayerRecord, ...],
    function: FunctionRecord | None,
) -> Manifest:
    own = function.unzipped_bytes if function else 0
    own_zipped = function.zipped_bytes if function else 0
    return Manifest(
        name=built.recipe.name,
        description=built.recipe.description,
        runtime=built.recipe.runtime,
        architecture=built.recipe.architecture,
        lock_sha256=built.lock.sha256,
        layers=layers,
        function=function,
        totals=Totals(
            unzipped_bytes=sum(layer.unzipped_bytes for layer in layers) + own,
            zipped_bytes=sum(layer.zipped_bytes for layer in layers) + own_zipped,
        ),
        naive_unzipped_bytes=built.naive.size + own,
        distributions=_distributions(built, plan),
        system_libraries=tuple(
            SystemLibraryRecord(soname=soname, origin=library.origin, sha256=sha256)
            for soname, library, sha256 in built.system
        ),
        passes=built.outcome.records,
        limits=LimitsRecord(
            unzipped_bytes=built.limits.unzipped_bytes,
            layers=built.limits.layers,
            direct_upload_zip_bytes=built.limits.direct_upload_zip_bytes,
            function_budget_bytes=built.limits.function_budget_bytes,
        ),
        tools={
            "layerpack": __version__,
            "compressor": COMPRESSOR,
            "python": built.interpreter,
            "builder": "docker" if built.image else "local",
            "image": built.image,
        },
        notes=(*plan.notes, *filter(None, [left_out_note(built.left_out)])),
    )


def _distributions(built: Built, plan: LayerPlan) -> tuple[DistributionRecord, ...]:
    naive = _sizes(built.naive)
    packed = _sizes(built.outcome.payload)
    where: dict[str, set[str]] = {}
    for layer in plan.layers:
        for entry in layer.entries:
            where.setdefault(entry.distribution, set()).add(layer.name)

    required = {canonicalize_name(Requirement(text).name) for text in built.recipe.requirements}

    def record(
        name: str, kind: Kind, *, version: str = "", file: str = "", sha256: str = ""
    ) -> DistributionRecord:
        return DistributionRecord(
            name=name,
            version=version,
            kind=kind,
            file=file,
            sha256=sha256,
            naive_bytes=naive.get(name, 0),
            packed_bytes=packed.get(name, 0),
            layers=tuple(sorted(where.get(name, ()))),
            required=name in required or kind not in ("wheel", "source"),
        )

    records = [
        record(
            wheel.name,
            wheel.kind,
            version=wheel.version,
            file=wheel.path.name,
            sha256=wheel.origin_sha256 or wheel.sha256,
        )
        for wheel in built.wheels
    ]
    records += [
        record(f"asset:{asset.name}", "asset", file=asset.origin, sha256=asset.sha256)
        for asset in built.assets
    ]
    if SYSTEM in naive:
        records.append(record(SYSTEM, "system"))
    if PAGER in packed:
        records.append(record(PAGER, "system", version=__version__))
    return tuple(records)


def _sizes(payload: Payload) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for entry in payload:
        sizes[entry.distribution] = sizes.get(entry.distribution, 0) + entry.size
    return sizes
