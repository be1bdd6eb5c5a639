"""The layer versions of several regions: looked at, chosen from, deleted, side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack import data
from layerpack.errors import LayerpackError, PublishError, UsageError
from layerpack.events import Events
from layerpack.manifest import Manifest
from layerpack.publish.aws import Aws
from layerpack.publish.prune import RegionStock, delete_going, stock, superfluous
from layerpack.publish.receipt import Receipt
from layerpack.publish.sending import Traffic
from layerpack.publish.side_by_side import side_by_side

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Names of layers (None: all of an account), the build folder whose receipt knows of them, if
    any, and the regions that it knows them in."""

    names: tuple[str, ...] | None
    folder: Path | None = None
    regions: tuple[str, ...] = ()


def named_layers(folder: Path | None, names: Sequence[str]) -> Layers:
    """The layers of a build (those that its receipt knows, too), or the ones named; all, with
    neither.

    Raises UsageError for both, and for a name that is none.
    """
    if folder is not None and names:
        raise UsageError("name a build, or layers (--layer), and not both", "Leave one out.")
    for name in names:
        if not re.fullmatch(data.load("publish.json")["layer_name"], name):
            raise UsageError(
                f"--layer: '{name}' is not a layer's name",
                "Letters, digits, '-' and '_': the name alone, without ARN or version.",
            )
    if folder is None:
        return Layers(names=tuple(names) or None)
    manifest = Manifest.read(folder / "manifest.json")
    regions = Receipt.read(folder).regions
    known = {name for one in regions.values() for name in one.layers}
    return Layers(
        names=tuple(sorted(known | {one.name for one in manifest.layers})),
        folder=folder,
        regions=tuple(sorted(regions)),
    )


def look(
    aws: Aws, regions: Sequence[str], names: Sequence[str] | None, events: Events
) -> list[RegionStock]:
    """What the regions have of the layers, or of all (None); a region's error stands in its own."""
    events.step("asking AWS for published layers")
    aws.identify(regions)

    def one(name: str) -> RegionStock:
        try:
            return stock(aws.region(name), names)
        except LayerpackError as error:
            return RegionStock(region=name, error=error)

    found = side_by_side(one, regions, events)
    known = {item.version.layer for region in found for item in region.standing}
    if unknown := sorted(set(names or ()) - known):
        events.warn(f"no versions of {', '.join(unknown)} in {', '.join(regions)}")
    return found


def choose(found: Sequence[RegionStock], keep: int) -> None:
    """Choose what goes: see `superfluous`."""
    for one in found:
        one.going = superfluous(one.standing, keep)


def delete(aws: Aws, found: Sequence[RegionStock], folder: Path | None, events: Events) -> None:
    """Delete what goes, in every region, and strike it out of the receipt of `folder`.

    Ctrl-C ends it after the deletion in progress, and reports the deleted versions.
    """
    events.step("deleting old versions")
    receipt = Receipt.read(folder) if folder else None
    traffic = Traffic(note=events.note)

    def one(stock: RegionStock) -> None:
        region = aws.region(stock.region)
        try:
            if stock.going:
                delete_going(region, stock, traffic)
        except LayerpackError as error:
            stock.error = error
        if receipt is not None:
            receipt.forget(region.place, {gone.version.arn for gone in stock.gone})

    try:
        side_by_side(one, found, events, traffic)
    except BaseException:
        for stock in found:
            arns = ", ".join(gone.version.arn for gone in stock.gone)
            events.warn(f"{stock.region}: deleted {arns or 'nothing'}")
        raise


def stocks_error(found: Sequence[RegionStock]) -> PublishError | None:
    """The error for regions that failed; None where all went well."""
    wrong = [(one.region, one.error) for one in found if one.error]
    if not wrong:
        return None
    if len(found) == 1:
        return PublishError(wrong[0][1].message, wrong[0][1].hint)
    return PublishError(
        f"{len(wrong)} of {len(found)} regions failed",
        "\n".join(f"{region}: {error}" for region, error in wrong),
    )


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
