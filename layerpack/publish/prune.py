"""Old layer versions: which there are, who uses them, which may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from layerpack.errors import LayerpackError
from layerpack.publish.aws import Region
from layerpack.publish.sending import Traffic
from layerpack.publish.versions import LayerVersion, layer_names, layer_versions, users


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A layer version, and the functions of the account that use it."""

    version: LayerVersion
    users: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class RegionStock:
    """What a region has: layer versions, the newest of each layer first. `going`: those that prune
    would delete; `gone`: those that it did."""

    region: str
    standing: list[Standing] = field(default_factory=list)
    going: list[Standing] = field(default_factory=list)
    gone: list[Standing] = field(default_factory=list)
    error: LayerpackError | None = None


def stock(region: Region, layers: Sequence[str] | None) -> RegionStock:
    """What the region has of these layers, or of all (None). Raises AwsError."""
    names = layer_names(region) if layers is None else sorted(set(layers))
    versions = [version for name in names for version in layer_versions(region, name)]
    used = users(region) if versions else {}
    return RegionStock(
        region=region.name,
        standing=[
            Standing(version=version, users=tuple(used.get(version.arn, ())))
            for version in versions
        ],
    )


def superfluous(standing: Sequence[Standing], keep: int) -> list[Standing]:
    """All but the newest `keep` of each layer, and but those that a function uses. Pure."""
    seen: dict[str, int] = {}
    found = []
    for one in sorted(standing, key=lambda one: (one.version.layer, -one.version.version)):
        seen[one.version.layer] = seen.get(one.version.layer, 0) + 1
        if seen[one.version.layer] > keep and not one.users:
            found.append(one)
    return found


def delete_going(region: Region, found: RegionStock, traffic: Traffic) -> None:
    """Delete what is going, unless a function has begun to use it. Raises AwsError, and
    StoppedError once the run ends; the versions deleted by then are in `found.gone`."""
    used = users(region)
    found.going = [one for one in found.going if one.version.arn not in used]
    for one in found.going:
        traffic.check()
        with region.told(f"deleting {one.version.layer}:{one.version.version}"):
            region.lambda_.delete_layer_version(
                LayerName=one.version.layer, VersionNumber=one.version.version
            )
        found.gone.append(one)
