"""What an operator or a kernel's variant costs, and why it stays or went. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final, Literal

from layerpack.errors import UsageError
from layerpack.manifest import FileInventory, Manifest, PartRecord

Kind = Literal["operator", "variant"]
#: What asks for each kind on the command line and in the recipe.
_KEYS: Final = {
    "operator": "'mxnet.operators' leaves some out (docs/mxnet.md)",
    "variant": "'cpu', such as cpu: {x86_64: [avx2]}, leaves some out (docs/libraries.md)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryParts:
    """The parts of one library, the largest first; sums are bytes of code, not compressed.

    Parts share code, so what went is not the sum of what each would add.
    """

    path: str
    parts: tuple[PartRecord, ...]
    dropped_bytes: int
    code_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsExplanation:
    """All parts of a kind, by library; with a `name`, those of that name alone. `remark` says why
    there are none."""

    kind: Kind
    name: str
    libraries: tuple[LibraryParts, ...]
    remark: str = ""


def explain_parts(
    kind: Kind, name: str, manifest: Manifest, inventory: FileInventory
) -> PartsExplanation:
    """What the build knows of its libraries' parts of a kind; of all, where `name` is empty.

    Nothing is known where the recipe leaves nothing of that kind out: a remark says so. Raises
    UsageError for a name that there is not, or is not known.
    """
    found = [
        LibraryParts(
            path=file.path,
            parts=tuple(
                sorted(
                    (part for part in file.paged.parts if part.kind == kind),
                    key=lambda part: (-part.code_bytes, part.name),
                )
            ),
            dropped_bytes=file.paged.dropped_of(kind),
            code_bytes=file.paged.paged_bytes,
        )
        for file in inventory.files
        if file.paged and any(part.kind == kind for part in file.paged.parts)
    ]
    if not found:
        remark = (
            f"{manifest.name} leaves no {kind}s out: all stay, and what each takes is not known"
        )
        hint = f"The recipe's key {_KEYS[kind]}; a build with it measures each."
        if name:
            raise UsageError(remark, hint)
        return PartsExplanation(kind=kind, name=name, libraries=(), remark=f"{remark}. {hint}")
    if name:
        found = _named(name, kind, found, manifest)
    return PartsExplanation(kind=kind, name=name, libraries=tuple(found))


def _named(
    name: str, kind: Kind, found: list[LibraryParts], manifest: Manifest
) -> list[LibraryParts]:
    chosen = [
        LibraryParts(
            path=one.path,
            parts=parts,
            dropped_bytes=one.dropped_bytes,
            code_bytes=one.code_bytes,
        )
        for one in found
        if (parts := tuple(p for p in one.parts if name == p.name or name in p.aliases))
    ]
    if not chosen:
        known = {text for one in found for part in one.parts for text in (part.name, *part.aliases)}
        near = difflib.get_close_matches(name, sorted(known), 3)
        raise UsageError(
            f"{manifest.name} has no {kind} '{name}'",
            f"Did you mean {' or '.join(near)}?"
            if near
            else f"`layerpack explain {'cpu' if kind == 'variant' else 'operator'}` lists them.",
        )
    return chosen
