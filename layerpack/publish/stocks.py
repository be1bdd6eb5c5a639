"""The layer versions of several regions: looked at, chosen from, deleted, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack.errors import LayerpackError, PublishError, UsageError
from layerpack.events import Events
from layerpack.manifest import Manifest
from layerpack.publish.aws import Aws
from layerpack.publish.prune import RegionStock, stock, superfluous
from layerpack.publish.prune import delete as delete_in
from layerpack.publish.receipt import Receipt
from layerpack.publish.side_by_side import side_by_side

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Names of layers, and the build folder whose receipt knows of them, if any."""

    names: tuple[str, ...]
    folder: Path | None = None


def layers_of(folder: Path | None, names: Sequence[str]) -> Layers:
    """The layers of a build (those that its receipt knows, too), or the ones named.

    Raises UsageError for both, or neither.
    """
    if (folder is None) == (not names):
        raise UsageError(
            "name a build, or layers (--layer), and not both", "layerpack prune build/bert"
        )
    if folder is None:
        return Layers(names=tuple(names))
    manifest = Manifest.read(folder / "manifest.json")
    known = {name for one in Receipt.read(folder).regions.values() for name in one.layers}
    return Layers(names=tuple(sorted(known | {one.name for one in manifest.layers})), folder=folder)


def look(
    aws: Aws, regions: Sequence[str], names: Sequence[str] | None, events: Events
) -> list[RegionStock]:
    """What the regions have of the layers, or of all (None); a region's error stands in its own."""
    events.step("asking AWS what is there")

    def one(name: str) -> RegionStock:
        try:
            return stock(aws.region(name), names)
        except LayerpackError as error:
            return RegionStock(region=name, error=error)

    return side_by_side(one, regions, events)


def choose(found: Sequence[RegionStock], keep: int) -> None:
    """Choose what goes: see `superfluous`."""
    for one in found:
        one.going = superfluous(one.standing, keep)


def delete(aws: Aws, found: Sequence[RegionStock], folder: Path | None, events: Events) -> None:
    """Delete what goes, in every region, and strike it out of the receipt of `folder`."""
    events.step("deleting old versions")
    receipt = Receipt.read(folder) if folder else None

    def one(region: RegionStock) -> None:
        try:
            if region.going:
                delete_in(aws.region(region.region), region)
        except LayerpackError as error:
            region.error = error
        if receipt is not None:
            receipt.forget(region.region, {gone.version.arn for gone in region.gone})

    side_by_side(one, found, events)


def error(found: Sequence[RegionStock]) -> PublishError | None:
    """The error for regions that failed; None where all went well."""
    wrong = [(one.region, one.error) for one in found if one.error]
    if not wrong:
        return None
    lines = [f"{region}: {error.message}" for region, error in wrong]
    hints = dict.fromkeys(error.hint for _, error in wrong if error.hint)
    return PublishError("\n".join(lines), "\n".join(hints))


def stock_json(found: Sequence[RegionStock]) -> dict[str, Any]:
    """The stock as JSON: `regions`, each with `region`, `error` and `versions` (`layer`, `version`,
    `arn`, `created`, `runtimes`, `architectures`, `users`, `state`: `stays`, `goes` or `gone`)."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "layer-versions",
        "regions": [
            {
                "region": one.region,
                "error": one.error.message if one.error else None,
                "versions": [
                    {
                        "layer": item.version.layer,
                        "version": item.version.version,
                        "arn": item.version.arn,
                        "created": item.version.created,
                        "runtimes": list(item.version.runtimes),
                        "architectures": list(item.version.architectures),
                        "users": list(item.users),
                        "state": state_of(one, item.version.arn),
                    }
                    for item in one.standing
                ],
            }
            for one in found
        ],
    }


def state_of(region: RegionStock, arn: str) -> str:
    """Whether a version `stays`, `goes`, or is `gone`."""
    if any(one.version.arn == arn for one in region.gone):
        return "gone"
    return "goes" if any(one.version.arn == arn for one in region.going) else "stays"
