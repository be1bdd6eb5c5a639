"""What a pass is: it reads a payload and plans edits; the runner carries them out.

A pass never writes a file of the payload. A rewrite's new bytes lie in a file that the pass made in
`PassContext.cache`, by content, and its old ones stay untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol, runtime_checkable

from layerpack.limits import RuntimeProfile
from layerpack.manifest import PagedRecord
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe

#: Why a file stays that `strip.keep` names.
KEPT: Final = "kept by strip.keep"
#: Bytes that a pass leaves free where it decides by the room there is: for the licence texts'
#: headings and repetitions in several layers (the texts themselves are counted), and for a
#: function that grows a little.
RESERVE: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Remove:
    """Leave `path` out."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite:
    """Give `path` the bytes of the file `source`; `paged` has the figures of a packed library."""

    path: str
    source: Path
    reason: str
    paged: PagedRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Add:
    """A new file; `entry` says where it goes and where its bytes lie."""

    entry: FileEntry
    reason: str

    @property
    def path(self) -> str:
        """The new file's path."""
        return self.entry.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """`path` stays as it is, though the pass looked at it: a refusal or a rewrite that failed."""

    path: str
    reason: str


Edit = Remove | Rewrite | Add | Keep


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What a pass did to one file: sizes in bytes before and after, and why.

    `pass_name` is the pass; `distribution` the file's; `bytes_after` is 0 for a removed file;
    `paged` is that of a Rewrite.
    """

    pass_name: str
    action: Literal["remove", "rewrite", "add", "keep"]
    path: str
    distribution: str
    reason: str
    bytes_before: int
    bytes_after: int
    paged: PagedRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassContext:
    """What a pass may know and use.

    `room`: bytes left below the unzipped limit for this payload, function included (negative when
    over). `cache`: a folder for results kept by content; `interpreter`: the target's Python, or
    None where there is none on this machine. `function`: the function package's files;
    `originals`: the files as they were before any pass, by path: their symbols may tell what
    those of later payloads no longer do.
    `recordings`: the pages of a library that the
    recipe's workloads touched, in order, by the SHA-256 that their trace names (its `source`);
    `imported`: the sources of the modules that they import, by their paths; `operators`: those of
    MXNet that they run, None where that is not known.
    `progress(done, total)` may be called at any time, and `warn` with what the user should know.
    """

    recipe: Recipe
    profile: RuntimeProfile
    cache: Path
    room: int
    interpreter: Path | None = None
    function: tuple[FileEntry, ...] = ()
    originals: Mapping[str, FileEntry] = field(default_factory=dict)
    recordings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    imported: frozenset[str] = frozenset()
    operators: frozenset[str] | None = None
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    warn: Callable[[str], None] = field(default=lambda text: None)


@runtime_checkable
class Pass(Protocol):
    """One kind of edit, in one file.

    `name` is what `layerpack passes` and the recipe call it, `summary` one line, `after` the names
    of passes that must have run before.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    after: ClassVar[frozenset[str]]

    def wanted(self, recipe: Recipe) -> bool:
        """Whether the recipe asks for this pass (by its defaults or its keys)."""
        ...

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """The edits for `payload`, at most one a path, each with a reason."""
        ...
