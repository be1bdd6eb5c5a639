"""What to do about a build that is over a limit, from what its files show. Pure.

Advice is given only where the build holds files that it would touch. Its bytes are what these
files take in this build: measured, never an estimate of another build.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from layerpack.limits import RuntimeProfile
from layerpack.manifest import FileInventory, FileRecord, Manifest
from layerpack.payload import ASSETS, SOURCE_KINDS, is_library_name
from layerpack.report.limit_use import LimitUse
from layerpack.units import human_size

_NAMED = 5
# Where only other distributions require one, leaving it out is worth a look from here on.
_HEAVY_BYTES = 10_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Contributor:
    """A distribution or a file, and the bytes that it takes."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """One way to come within a limit.

    `subject` is that of the limit's LimitUse; `keys` are the recipe's, written as one would write
    them (`strip.bytecode: none`); `bytes` is what the files concerned take now (zipped where the
    limit is a zip's, else unzipped); `largest` are the largest of them, largest first.
    """

    subject: str
    keys: tuple[str, ...]
    text: str
    bytes: int
    largest: tuple[Contributor, ...]


class _Switch(NamedTuple):
    """A pass that is on by default, so that a build without it turned it off."""

    pass_name: str
    key: str
    text: str
    concerns: Callable[[PurePosixPath], bool]


_SWITCHES = (
    _Switch(
        "paged",
        "native.store: paged",
        "The code of shared libraries would be stored compressed, and paged in when it is touched; "
        "this is what the libraries take whole",
        lambda path: ".so" in path.suffixes and path.parts[0] != ASSETS,
    ),
    _Switch(
        "symbols",
        "strip.symbols: true",
        "The symbol tables of shared libraries would go; this is what the libraries take whole",
        lambda path: ".so" in path.suffixes,
    ),
    _Switch(
        "tests",
        "strip.tests: true",
        "Test suites that nothing else imports would go",
        lambda path: not {"tests", "test"}.isdisjoint(path.parts[:-1]),
    ),
    _Switch(
        "docs",
        "strip.docs: true",
        "Documentation and examples would go",
        lambda path: not {"doc", "docs", "examples"}.isdisjoint(path.parts[:-1]),
    ),
    _Switch(
        "sources",
        "strip.sources: true",
        "Type stubs, headers and sources of compiled modules would go",
        lambda path: path.suffix in SOURCE_KINDS,
    ),
    _Switch(
        "programs",
        "strip.programs: true",
        "Programs that nothing calls would go; this is what all in folders named bin take",
        lambda path: "bin" in path.parts[:-1] and path.suffix not in {".py", ".pyc", ".so"},
    ),
)


def advise(
    manifest: Manifest, inventory: FileInventory, exceeded: Iterable[LimitUse]
) -> tuple[Advice, ...]:
    """Advice for every exceeded limit, in their order; for each, what weighs most comes first."""
    found: list[Advice] = []
    for use in exceeded:
        match use.kind:
            case "unzipped":
                found += _for_unzipped(manifest, inventory, use)
            case "function":
                found += _for_function(manifest, inventory, use)
            case "layers":
                found.append(_for_layers(manifest, use))
            case "zip":
                found.append(_for_zip(manifest, inventory, use))
    return tuple(found)


def function_files(manifest: Manifest, inventory: FileInventory) -> tuple[FileRecord, ...]:
    """The function's own files: those that lie in no layer."""
    layers = {layer.name for layer in manifest.layers}
    return tuple(file for file in inventory.files if file.layer not in layers)


def _for_unzipped(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> list[Advice]:
    # Files that one piece of advice concerns may be in another's too (a test's bytecode): each
    # figure stands alone, and they are never added up.
    found = [
        *_bytecode(inventory, use),
        *_switched_off(manifest, inventory, use),
        *_duplicates(manifest, inventory, use),
        *_languages(manifest, inventory, use),
        *_runtime_provided(manifest, inventory, use),
        *_required_by_others(manifest, use),
        *_assets(manifest, use),
    ]
    found.sort(key=lambda advice: -advice.bytes)
    return [*found, _requirements(manifest, use)]


def _bytecode(inventory: FileInventory, use: LimitUse) -> Iterator[Advice]:
    files = [file for file in inventory.files if file.path.endswith(".pyc")]
    if files:
        yield Advice(
            subject=use.subject,
            keys=("strip.bytecode: none",),
            text=f"{_count(files)} of compiled bytecode would go; "
            "every cold start then compiles the modules that it imports",
            bytes=_bytes(files),
            largest=_by_distribution(files),
        )


def _switched_off(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> Iterator[Advice]:
    for switch in _SWITCHES:
        if _ran(switch.pass_name, manifest, inventory):
            continue
        files = [file for file in inventory.files if switch.concerns(PurePosixPath(file.path))]
        if files:
            yield Advice(
                subject=use.subject,
                keys=(switch.key,),
                text=f"{switch.text} ({_count(files)})",
                bytes=_bytes(files),
                largest=_by_distribution(files),
            )


def _duplicates(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> Iterator[Advice]:
    if _ran("duplicates", manifest, inventory):
        return
    own = {file.path for file in function_files(manifest, inventory)}
    seen: set[str] = set()
    copies = []
    for file in inventory.files:
        if is_library_name(file.path) and file.path not in own:
            if file.sha256 in seen:
                copies.append(file)
            seen.add(file.sha256)
    if copies:
        yield Advice(
            subject=use.subject,
            keys=("strip.duplicates: true",),
            text=f"Copies of the same shared library would go ({_count(copies)})",
            bytes=_bytes(copies),
            largest=_by_distribution(copies),
        )


def _languages(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> Iterator[Advice]:
    if _ran("spacy-languages", manifest, inventory):
        return  # spaCy itself imports the others
    languages: dict[str, list[FileRecord]] = defaultdict(list)
    for file in inventory.files:
        _, found, below = file.path.partition("/spacy/lang/")
        language, folder, _ = below.partition("/")
        # Files of spacy/lang/ itself are shared; `xx` is spaCy's language-independent base.
        if found and folder and language not in {"xx", "__pycache__"}:
            languages[language].append(file)
    # A pipeline's distribution begins with its language: en-core-web-sm.
    kept = {item.name.partition("-")[0] for item in manifest.distributions} & languages.keys()
    kept = kept or ({"en"} & languages.keys())
    files = [file for name, held in languages.items() if name not in kept for file in held]
    if files and kept:
        yield Advice(
            subject=use.subject,
            keys=(f"strip.spacy-languages: [{', '.join(sorted(kept))}]",),
            text=f"{len(languages.keys() - kept)} spaCy languages without a pipeline here would go",
            bytes=_bytes(files),
            largest=_largest(
                (f"spacy/lang/{name}", _bytes(held))
                for name, held in languages.items()
                if name not in kept
            ),
        )


def _runtime_provided(
    manifest: Manifest, inventory: FileInventory, use: LimitUse
) -> Iterator[Advice]:
    if _ran("runtime-provided", manifest, inventory):
        return
    try:
        provided = RuntimeProfile.load(manifest.runtime, "x86_64").distributions
    except KeyError:  # a build of a runtime that this layerpack does not know any more
        return
    here = [item for item in manifest.distributions if item.name in provided and item.packed_bytes]
    # Others need urllib3 or six too, and then the pass leaves them; with boto3 it is worth a try.
    if "botocore" in {item.name for item in here}:
        yield Advice(
            subject=use.subject,
            keys=("strip.runtime-provided: true",),
            text=f"{manifest.runtime} has these itself, in versions that AWS chooses",
            bytes=sum(item.packed_bytes for item in here),
            largest=_largest((item.name, item.packed_bytes) for item in here),
        )


def _required_by_others(manifest: Manifest, use: LimitUse) -> Iterator[Advice]:
    found = [
        item
        for item in manifest.distributions
        if not item.required and item.packed_bytes >= _HEAVY_BYTES
    ]
    if found:
        largest = _largest((item.name, item.packed_bytes) for item in found)
        yield Advice(
            subject=use.subject,
            keys=(f"resolve.exclude: [{largest[0].name}]",),
            text="Only other distributions require these; exclude those that the function does not "
            "use, such as GPU libraries",
            bytes=sum(item.packed_bytes for item in found),
            largest=largest,
        )


def _ran(name: str, manifest: Manifest, inventory: FileInventory) -> bool:
    ran = (item.name for item in manifest.passes)
    return name in ran or any(item.pass_name == name for item in inventory.remarks)


def _assets(manifest: Manifest, use: LimitUse) -> Iterator[Advice]:
    assets = [item for item in manifest.distributions if item.kind == "asset" and item.packed_bytes]
    if assets:
        yield Advice(
            subject=use.subject,
            keys=("assets",),
            text="Models and data could come from S3 into /tmp when the function starts",
            bytes=sum(item.packed_bytes for item in assets),
            largest=_largest((item.name, item.packed_bytes) for item in assets),
        )


def _requirements(manifest: Manifest, use: LimitUse) -> Advice:
    packed = [item for item in manifest.distributions if item.kind in {"wheel", "source"}]
    return Advice(
        subject=use.subject,
        keys=("requirements",),
        text=f"{human_size(use.excess)} have to go; the largest distributions are",
        bytes=sum(item.packed_bytes for item in packed),
        largest=_largest((item.name, item.packed_bytes) for item in packed),
    )


def _for_function(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> list[Advice]:
    files = function_files(manifest, inventory)
    return [
        Advice(
            subject=use.subject,
            keys=("assets", "requirements", "function.budget"),
            text="Move data to an asset and libraries to requirements, "
            "or raise the budget: it is layerpack's own",
            bytes=use.used,
            largest=_largest((file.path, file.size) for file in files),
        )
    ]


def _for_layers(manifest: Manifest, use: LimitUse) -> Advice:
    return Advice(
        subject=use.subject,
        keys=(f"layers.max: {use.limit}", "layers.direct-upload: false"),
        text="Fewer layers, with larger zips; a zip over the direct upload's size needs S3",
        bytes=sum(layer.unzipped_bytes for layer in manifest.layers),
        largest=_largest((layer.name, layer.unzipped_bytes) for layer in manifest.layers),
    )


def _for_zip(manifest: Manifest, inventory: FileInventory, use: LimitUse) -> Advice:
    if use.subject == "function":
        files = function_files(manifest, inventory)
    else:
        files = tuple(file for file in inventory.files if file.layer == use.subject)
    single = next((file for file in files if file.zipped > use.limit), None)
    if single:
        text = "Publish it through an S3 bucket: its largest file alone is over, and is not cut"
    else:
        text = "Publish it through an S3 bucket, or leave more layers to spread its files over"
    return Advice(
        subject=use.subject,
        # With `direct-upload: false` the planner stops cutting layers for the sake of this limit.
        keys=("layers.direct-upload: false",) if single else ("layers.direct-upload", "layers.max"),
        text=text,
        bytes=use.used,
        largest=_largest((file.path, file.zipped) for file in files),
    )


def _count(files: list[FileRecord]) -> str:
    return f"{len(files):,} file{'' if len(files) == 1 else 's'}"


def _bytes(files: Iterable[FileRecord]) -> int:
    return sum(file.size for file in files)


def _by_distribution(files: Iterable[FileRecord]) -> tuple[Contributor, ...]:
    sizes: dict[str, int] = defaultdict(int)
    for file in files:
        sizes[file.distribution] += file.size
    return _largest(sizes.items())


def _largest(sizes: Iterable[tuple[str, int]]) -> tuple[Contributor, ...]:
    ordered = sorted(sizes, key=lambda item: (-item[1], item[0]))[:_NAMED]
    return tuple(Contributor(name=name, bytes=size) for name, size in ordered)
