"""What publishing would do, as data: by region, what is there, what goes, and how. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from layerpack.errors import LayerpackError
from layerpack.publish.bucket import Bucket
from layerpack.publish.checks import Artifact
from layerpack.publish.function import FunctionPlan
from layerpack.publish.share import Share
from layerpack.publish.versions import LayerVersion

Way = Literal["reuse", "direct", "s3"]
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """A layer: the way it goes (`reuse`: the latest version is the same), and the latest version
    that is there, if any."""

    artifact: Artifact
    way: Way
    latest: LayerVersion | None

    @property
    def arn(self) -> str | None:
        """The version that is reused."""
        return self.latest.arn if self.latest and self.way == "reuse" else None


def plan_layer(artifact: Artifact, latest: LayerVersion | None, *, same: bool) -> LayerPlan:
    """How a layer goes; `same`: its latest version holds the same, for the same runtime."""
    way: Way = "reuse" if same else "s3" if artifact.needs_s3 else "direct"
    return LayerPlan(artifact=artifact, way=way, latest=latest)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionPlan:
    """What happens in a region; with an `error` nothing does. `remarks`: what could not be seen."""

    region: str
    account: str
    layers: tuple[LayerPlan, ...] = ()
    function: FunctionPlan | None = None
    shares: tuple[Share, ...] = ()
    bucket: Bucket | None = None
    remarks: tuple[str, ...] = ()
    error: LayerpackError | None = None

    @property
    def bytes_to_send(self) -> int:
        """What the layers weigh that are sent."""
        return sum(one.artifact.zipped_bytes for one in self.layers if one.way != "reuse")

    @property
    def does_nothing(self) -> bool:
        """Whether all of it is there already (sharing apart)."""
        changed = self.function is not None and self.function.action != "unchanged"
        return not self.error and not changed and not any(o.way != "reuse" for o in self.layers)


def plan_json(plans: Sequence[RegionPlan]) -> dict[str, Any]:
    """The plan as JSON: `regions`, each with `region`, `account`, `bucket`, `bytes_to_send`,
    `shares`, `error`, its `layers` (`name`, `way`, `zipped_bytes`, `latest_arn`) and its
    `function` (`name`, `action`, `changes`, `keeps`, `drops`, `alias`), or null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "publish-plan",
        "regions": [_region_json(one) for one in plans],
    }


def _region_json(plan: RegionPlan) -> dict[str, Any]:
    function = plan.function
    return {
        "region": plan.region,
        "account": plan.account,
        "bucket": plan.bucket.name if plan.bucket else "",
        "bytes_to_send": plan.bytes_to_send,
        "shares": [str(one) for one in plan.shares],
        "remarks": list(plan.remarks),
        "error": plan.error.message if plan.error else None,
        "layers": [
            {
                "name": one.artifact.name,
                "way": one.way,
                "zipped_bytes": one.artifact.zipped_bytes,
                "latest_arn": one.latest.arn if one.latest else None,
            }
            for one in plan.layers
        ],
        "function": function
        and {
            "name": function.name,
            "action": function.action,
            "changes": list(function.changes),
            "keeps": list(function.keeps),
            "drops": list(function.drops),
            "alias": function.alias,
        },
    }
