"""The build's record: `manifest.json` for people and tools, `files.json` for `explain`.

Both are versioned; reading another version's file is an error that says what to do.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from layerpack.errors import UsageError
from layerpack.limits import Architecture
from layerpack.saved import parsed
from layerpack.units import write_text
from layerpack.verified_record import check_verified

_T = TypeVar("_T")
SCHEMA_VERSION = 1
#: That of `files.json`; 2 brought `paged`.
INVENTORY_VERSION = 4

#: Where a distribution comes from: `wheel`, `source` (built here), `asset`, or `system`.
Kind = Literal["wheel", "source", "asset", "system"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionRecord:
    """One distribution: bytes before any pass and as packed, and the file that it came from.

    `kind`: `wheel`, `source` (built here), `asset` or `system` (shared libraries);
    `sha256` is that of `file` (a wheel's name, a source archive's, an asset's source); `required`:
    whether the recipe's own requirements name it (a manifest of an older layerpack does not tell).
    """

    name: str
    version: str
    kind: Kind
    file: str
    sha256: str
    naive_bytes: int
    packed_bytes: int
    layers: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemLibraryRecord:
    """A shared library that the runtime lacks: its soname, where it came from (`pykdtree 1.4.3`,
    `this machine`), and the SHA-256 of the file as it was there."""

    soname: str
    origin: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRecord:
    """One layer's zip; `file` is relative to the build folder, sizes in bytes."""

    name: str
    file: str
    sha256: str
    zipped_bytes: int
    unzipped_bytes: int
    distributions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionRecord:
    """The function package; `budget_bytes` is what the recipe allows its code, `environment` the
    variables that it needs."""

    file: str
    handler: str
    sha256: str
    zipped_bytes: int
    unzipped_bytes: int
    budget_bytes: int
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Bytes of function and layers together."""

    unzipped_bytes: int
    zipped_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PassRecord:
    """What a pass did: the payload's bytes before and after it, and how many files it changed."""

    name: str
    files: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRecord:
    """A part of a library that the recipe may leave out: an operator or a kernel's variant.

    `reason` says why it stays or goes. `code_bytes` are those of code, not compressed, that went
    with it, or that would go if it were left out as well. `aliases` are its other names.
    """

    kind: Literal["operator", "variant"]
    name: str
    kept: bool
    reason: str
    code_bytes: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedRecord:
    """A library whose code is stored compressed within it, in bytes.

    `original_bytes`: before; `mapped_bytes`: still loaded as they are; `paged_bytes`: code that is
    brought in when it is touched; `data_bytes`: read-only data that is decompressed when the
    library is loaded; both take `compressed_bytes` in the file; `hot_pages`: pages
    that a workload touched, which lie together in it or are loaded as they are. `dropped_bytes` of
    code were left out, `dropped_variant_bytes` of them for processors' sake, and `parts` are what
    might be.
    """

    original_bytes: int
    mapped_bytes: int
    paged_bytes: int
    compressed_bytes: int
    hot_pages: int
    dropped_bytes: int = 0
    dropped_variant_bytes: int = 0
    data_bytes: int = 0
    parts: tuple[PartRecord, ...] = ()

    def dropped_of(self, kind: Literal["operator", "variant"]) -> int:
        """The bytes of code that were left out with parts of a kind."""
        variants = self.dropped_variant_bytes
        return variants if kind == "variant" else self.dropped_bytes - variants


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """One file as packed: unzipped and compressed bytes, its distribution and layer."""

    path: str
    size: int
    zipped: int
    sha256: str
    distribution: str
    layer: str
    paged: PagedRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsRecord:
    """The limits that the build was held against, in bytes (data/limits.json)."""

    unzipped_bytes: int
    layers: int
    direct_upload_zip_bytes: int
    function_budget_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A build, as `manifest.json` has it.

    `naive_unzipped_bytes` is the plain install: every distribution's files and the assets before
    any pass, without bytecode, plus the function. `tools` names what made the bytes
    (layerpack, the compressor).
    """

    name: str
    description: str
    runtime: str
    architecture: Architecture
    lock_sha256: str
    layers: tuple[LayerRecord, ...]
    function: FunctionRecord | None
    totals: Totals
    naive_unzipped_bytes: int
    distributions: tuple[DistributionRecord, ...]
    system_libraries: tuple[SystemLibraryRecord, ...]
    passes: tuple[PassRecord, ...]
    limits: LimitsRecord
    tools: dict[str, str]
    verified: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        """Write `manifest.json` (aside, then renamed)."""
        write_text(path, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a `manifest.json`. Raises UsageError if it is absent, damaged or too new."""
        manifest = _read(path, cls, SCHEMA_VERSION)
        try:
            check_verified(manifest.verified)
        except ValueError as error:
            raise _damaged(path, f"verified: {error}") from None
        if not re.fullmatch(r"python\d+\.\d+", manifest.runtime):
            raise _damaged(path, f"runtime: '{manifest.runtime}' is none")
        return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class RemarkRecord:
    """A pass's remark on one file (see `passes.api.Remark`), as saved."""

    pass_name: str
    action: str
    path: str
    distribution: str
    reason: str
    bytes_before: int
    bytes_after: int
    paged: PagedRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInventory:
    """`files.json`: every packed file and every remark, for `explain`, `diff` and the report."""

    files: tuple[FileRecord, ...]
    remarks: tuple[RemarkRecord, ...]
    schema_version: int = INVENTORY_VERSION

    def write(self, path: Path) -> None:
        """Write `files.json` (aside, then renamed)."""
        write_text(path, json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> FileInventory:
        """Read a `files.json`. Raises UsageError if it is absent, damaged or of another version."""
        return _read(path, cls, INVENTORY_VERSION)


def _damaged(path: Path, detail: str) -> UsageError:
    return UsageError(f"{path} is damaged: {detail}", "Build the recipe again.")


@dataclass(frozen=True, slots=True)
class _Versioned:
    schema_version: int | None = None


def _read(path: Path, kind: type[_T], version: int) -> _T:
    try:
        text = path.read_bytes()
        found = parsed(_Versioned, text).schema_version
        if found == version:
            return parsed(kind, text)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{path}: no such file",
            f"Is {path.parent} a build folder? `layerpack build` makes one.",
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    raise UsageError(
        f"{path} has schema version {found}, this layerpack reads {version}",
        "Build the recipe again with this layerpack.",
    )
