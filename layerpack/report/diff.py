"""What changed between two builds, and what of it would be uploaded again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from layerpack.manifest import (
    DistributionRecord,
    FileInventory,
    FileRecord,
    FunctionRecord,
    LayerRecord,
    Manifest,
)
from layerpack.report.model import FUNCTION, LARGEST

State = Literal["added", "removed", "changed", "same"]
T = TypeVar("T")


class _Zip(NamedTuple):
    sha256: str
    zipped_bytes: int
    unzipped_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A number of bytes before and after."""

    before: int
    after: int

    @property
    def delta(self) -> int:
        """How much more there is now."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipDiff:
    """A layer's zip, or the function's; `same` means the same SHA-256."""

    name: str
    state: State
    zipped: Change
    unzipped: Change

    @property
    def upload_bytes(self) -> int:
        """What publishing the new build sends for this zip: nothing if it is the same or gone."""
        return self.zipped.after if self.state in {"added", "changed"} else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionDiff:
    """A distribution that is new, gone, of another version, or packed to another size.

    A version is empty where the build does not have the distribution.
    """

    name: str
    state: State
    old_version: str
    new_version: str
    packed: Change


@dataclass(frozen=True, kw_only=True, slots=True)
class PassDiff:
    """The bytes that a pass saved in each build; 0 where it did not run."""

    name: str
    saved: Change


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDiff:
    """A file that is new, gone, or has other content (maybe of the same size)."""

    path: str
    state: State
    size: Change


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDiff:
    """What changed between two builds. Distributions, passes and files that did not are left out.

    `files` are those with the largest change, `changed_files` how many there are in all.
    """

    old_name: str
    new_name: str
    unzipped: Change
    zipped: Change
    naive: Change
    limit: int
    zips: tuple[ZipDiff, ...]
    distributions: tuple[DistributionDiff, ...]
    passes: tuple[PassDiff, ...]
    files: tuple[FileDiff, ...]
    changed_files: int

    @property
    def upload_bytes(self) -> int:
        """What publishing the new build would send."""
        return sum(item.upload_bytes for item in self.zips)

    @property
    def identical(self) -> bool:
        """Whether every zip is the same, byte for byte."""
        return all(item.state == "same" for item in self.zips)


def diff(
    old: Manifest,
    new: Manifest,
    *,
    old_files: FileInventory,
    new_files: FileInventory,
    largest: int = LARGEST,
) -> ReportDiff:
    """What changed from `old` to `new`; `largest` says how many changed files to list."""
    files = _files(old_files.files, new_files.files)
    return ReportDiff(
        old_name=old.name,
        new_name=new.name,
        unzipped=Change(before=old.totals.unzipped_bytes, after=new.totals.unzipped_bytes),
        zipped=Change(before=old.totals.zipped_bytes, after=new.totals.zipped_bytes),
        naive=Change(before=old.naive_unzipped_bytes, after=new.naive_unzipped_bytes),
        limit=new.limits.unzipped_bytes,
        zips=_zips(old, new),
        distributions=_distributions(old.distributions, new.distributions),
        passes=_passes(old, new),
        files=files[:largest],
        changed_files=len(files),
    )


def _zips(old: Manifest, new: Manifest) -> tuple[ZipDiff, ...]:
    before, after = _zip_records(old), _zip_records(new)
    return tuple(
        ZipDiff(
            name=name,
            state=_state(before.get(name), after.get(name), lambda item: item.sha256),
            zipped=_change(before.get(name), after.get(name), lambda item: item.zipped_bytes),
            unzipped=_change(before.get(name), after.get(name), lambda item: item.unzipped_bytes),
        )
        for name in _in_order(before, after)
    )


def _zip_records(manifest: Manifest) -> dict[str, _Zip]:
    zips: dict[str, LayerRecord | FunctionRecord] = {item.name: item for item in manifest.layers}
    if manifest.function:
        zips[FUNCTION] = manifest.function
    return {
        name: _Zip(item.sha256, item.zipped_bytes, item.unzipped_bytes)
        for name, item in zips.items()
    }


def _distributions(
    old: Iterable[DistributionRecord], new: Iterable[DistributionRecord]
) -> tuple[DistributionDiff, ...]:
    before = {item.name: item for item in old}
    after = {item.name: item for item in new}
    found = []
    for name in _in_order(before, after):
        was, now = before.get(name), after.get(name)
        state = _state(was, now, lambda item: (item.version, item.packed_bytes))
        if state != "same":
            found.append(
                DistributionDiff(
                    name=name,
                    state=state,
                    old_version=was.version if was else "",
                    new_version=now.version if now else "",
                    packed=_change(was, now, lambda item: item.packed_bytes),
                )
            )
    found.sort(key=lambda item: (-abs(item.packed.delta), item.name))
    return tuple(found)


def _passes(old: Manifest, new: Manifest) -> tuple[PassDiff, ...]:
    before = {item.name: item for item in old.passes}
    after = {item.name: item for item in new.passes}
    found = [
        PassDiff(
            name=name,
            saved=_change(
                before.get(name), after.get(name), lambda item: item.bytes_before - item.bytes_after
            ),
        )
        for name in _in_order(before, after)
    ]
    return tuple(item for item in found if item.saved.delta)


def _files(old: Iterable[FileRecord], new: Iterable[FileRecord]) -> tuple[FileDiff, ...]:
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    found = []
    for path in before.keys() | after.keys():
        was, now = before.get(path), after.get(path)
        state = _state(was, now, lambda file: file.sha256)
        if state != "same":
            change = _change(was, now, lambda file: file.size)
            found.append(FileDiff(path=path, state=state, size=change))
    found.sort(key=lambda item: (-abs(item.size.delta), item.path))
    return tuple(found)


def _in_order(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """The names of the new build in its order, then those that are gone."""
    return list(dict.fromkeys([*after, *before]))


def _state(before: T | None, after: T | None, identity: Callable[[T], object]) -> State:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    return "same" if identity(before) == identity(after) else "changed"


def _change(before: T | None, after: T | None, size: Callable[[T], int]) -> Change:
    return Change(
        before=0 if before is None else size(before), after=0 if after is None else size(after)
    )
