"""Cutting a payload into layers: a pure function from groups of files to a plan.

A distribution, or an asset, is a group and stays together unless it is too large for one layer.
The plan is stable: heavy groups do not share a layer with the many small ones, so that a new
version of a small distribution leaves the large zips, and their uploads, as they are; sizes count
in coarse steps, so that a small change of size reorders nothing; and what may lie anywhere goes
with the small ones, or to the first layer by name that has room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from layerpack.errors import LimitError
from layerpack.payload import FileEntry

# A group from an eighth of a zip on is heavy: it is worth a layer that small changes do not touch.
_HEAVY = 1 / 8
# Licences, the end record and the like come on top of the members.
_MARGIN = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Files that belong together: a name (`numpy`, `encoder`), and their bytes in a zip."""

    name: str
    entries: tuple[FileEntry, ...]
    zipped: int
    is_asset: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLayer:
    """One layer: its name, and the groups in it, largest first."""

    name: str
    groups: tuple[Group, ...]

    @property
    def zipped(self) -> int:
        """Bytes in the zip, as planned."""
        return sum(group.zipped for group in self.groups)

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """All files of the layer."""
        return tuple(entry for group in self.groups for entry in group.entries)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """The layers, and a remark on each thing that could not be had as wished."""

    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...]


def group(entries: Iterable[FileEntry], size: Callable[[FileEntry], int]) -> tuple[Group, ...]:
    """Entries by distribution; `size` gives a file's bytes in a zip."""
    by_name: dict[str, list[FileEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.distribution, []).append(entry)
    return tuple(
        Group(
            name=name.removeprefix("asset:"),
            entries=tuple(files),
            zipped=sum(size(file) for file in files),
            is_asset=name.startswith("asset:"),
        )
        for name, files in sorted(by_name.items())
    )


def plan_layers(
    groups: Sequence[Group],
    size: Callable[[FileEntry], int],
    *,
    name: str,
    at_most: int,
    zip_bytes: int | None,
    zip_files: int,
    anywhere: Container[str] = (),
) -> LayerPlan:
    """Distribute groups over at most `at_most` layers, each zip under `zip_bytes` and with at most
    `zip_files` files where possible.

    `name` begins every layer's name; `zip_bytes` None means that any size will do (S3). Groups that
    `anywhere` names go where there is room: none of them is worth a layer. Raises LimitError when
    `at_most` is below 1.
    """
    if at_most < 1:
        raise LimitError("at least one layer is needed")
    room = _Room(bytes=int(zip_bytes * _MARGIN) if zip_bytes else math.inf, files=zip_files)
    bins = _distribute(
        _split([part for part in groups if part.name not in anywhere], size, room), room, at_most
    )
    for part in (part for part in groups if part.name in anywhere):
        bins = _placed(part, bins, room, at_most)
    notes = []
    for one in bins:
        if _zipped(one) > room.bytes:
            large = max(one, key=lambda part: part.zipped)
            notes.append(
                f"the zip with {large.name} comes to {_zipped(one):,} bytes, over the "
                f"{zip_bytes:,} of a direct upload: it goes through S3"
            )
    return LayerPlan(layers=_named(bins, name), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Room:
    """The room in one zip."""

    bytes: float
    files: int

    def fits(self, zipped: int, files: int) -> bool:
        return zipped <= self.bytes and files <= self.files


def _files(groups: Iterable[Group]) -> int:
    return sum(len(part.entries) for part in groups)


def _zipped(groups: Iterable[Group]) -> int:
    return sum(part.zipped for part in groups)


def _is_heavy(part: Group, room: _Room) -> bool:
    return part.zipped >= room.bytes * _HEAVY


def _step(zipped: int) -> int:
    """A size in coarse steps (a factor of about 1.4), for an order that small changes leave."""
    return round(2 * math.log2(max(1, zipped)))


def _ordered(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda part: (-_step(part.zipped), part.is_asset, part.name))


def _distribute(parts: Sequence[Group], room: _Room, at_most: int) -> list[list[Group]]:
    """The first of these that needs no more layers than allowed: heavy, small and assets apart;
    heavy and small together; all together; and at last as even as can be, whatever the size."""
    heavy = [part for part in parts if _is_heavy(part, room)]
    small = [part for part in parts if not _is_heavy(part, room)]
    models = [part for part in heavy if part.is_asset]
    libraries = [part for part in heavy if not part.is_asset]
    for sets in ([libraries, small, models], [libraries + small, models], [list(parts)]):
        bins = [one for some in sets for one in _first_fit(some, room)]
        if len(bins) <= at_most:
            return bins
    return _even(parts, at_most, room)


def _takes(one: Sequence[Group], part: Group, room: _Room) -> bool:
    return room.fits(_zipped(one) + part.zipped, _files(one) + len(part.entries))


def _first_fit(parts: Iterable[Group], room: _Room) -> list[list[Group]]:
    bins: list[list[Group]] = []
    for part in _ordered(parts):
        fitting = next((one for one in bins if _takes(one, part, room)), None)
        if fitting is None:
            bins.append([part])
        else:
            fitting.append(part)
    return bins


def _even(parts: Iterable[Group], count: int, room: _Room) -> list[list[Group]]:
    """As even by bytes as can be; a zip's number of files, unlike its size, cannot be exceeded."""
    bins: list[list[Group]] = [[] for _ in range(count)]
    for part in sorted(parts, key=lambda part: (-part.zipped, part.name)):
        fitting = [one for one in bins if _files(one) + len(part.entries) <= room.files]
        min(fitting or bins, key=_zipped).append(part)
    return [one for one in bins if one]


def _placed(part: Group, bins: list[list[Group]], room: _Room, at_most: int) -> list[list[Group]]:
    """The bins with one more group, in one that takes it: with the small ones, whose zip changes
    anyway, else in the first by name. By size it would move between large zips."""
    fitting = [one for one in bins if _takes(one, part, room)]
    if not fitting and len(bins) < at_most:
        return [*bins, [part]]
    enough = [one for one in bins if _files(one) + len(part.entries) <= room.files]
    chosen = min(
        fitting or enough or bins,
        key=lambda one: (any(_is_heavy(other, room) for other in one), _ordered(one)[0].name),
    )
    return [[*one, part] if one is chosen else one for one in bins]


def _split(groups: Iterable[Group], size: Callable[[FileEntry], int], room: _Room) -> list[Group]:
    """Cut what is too large for one zip into parts, by files."""
    parts: list[Group] = []
    for whole in groups:
        if room.fits(whole.zipped, len(whole.entries)):
            parts.append(whole)
            continue
        bins: list[list[FileEntry]] = []
        used: list[int] = []
        order = sorted(whole.entries, key=lambda entry: (-_step(size(entry)), entry.path))
        for entry in order:
            need = size(entry)
            index = next(
                (i for i, one in enumerate(bins) if room.fits(used[i] + need, len(one) + 1)), None
            )
            if index is None:
                bins.append([entry])
                used.append(need)
            else:
                bins[index].append(entry)
                used[index] += need
        for number, (zipped, files) in enumerate(zip(used, bins, strict=True), start=1):
            parts.append(
                Group(
                    name=whole.name if number == 1 else f"{whole.name}-{number}",
                    entries=tuple(files),
                    zipped=zipped,
                    is_asset=whole.is_asset,
                )
            )
    return parts


def _named(bins: Sequence[Sequence[Group]], name: str) -> tuple[PlannedLayer, ...]:
    """Each layer is called after its largest group, which keeps the name while others come and
    go; layers are sorted by name."""
    layers: list[PlannedLayer] = []
    taken: set[str] = set()
    for one in sorted(bins, key=lambda one: sorted((part.is_asset, part.name) for part in one)):
        ordered = sorted(one, key=lambda part: (-_step(part.zipped), part.name))
        # Lambda's layer names allow letters, digits, '-' and '_' only.
        leader = "".join(c if c.isalnum() or c in "-_" else "-" for c in ordered[0].name)
        # An asset may be called as a distribution is, or a distribution as another's second part.
        candidates = [
            f"{name}-{leader}",
            *(f"{name}-{leader}-{n}" for n in range(2, len(bins) + 2)),
        ]
        chosen = next(candidate for candidate in candidates if candidate not in taken)
        taken.add(chosen)
        layers.append(PlannedLayer(name=chosen, groups=tuple(ordered)))
    return tuple(sorted(layers, key=lambda layer: layer.name))


def licence_path(layer: str) -> str:
    """Where a layer's licences lie in it: a name of its own, as layers are merged in /opt."""
    return f"licenses/{layer}.txt"
