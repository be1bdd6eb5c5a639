"""Looking at a region: what is there, so what has to be done. Nothing is changed here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from layerpack.errors import LayerpackError
from layerpack.limits import LambdaLimits
from layerpack.publish.account import Need, check_permissions, check_room
from layerpack.publish.aws import Identity, Region
from layerpack.publish.bucket import find_bucket
from layerpack.publish.checks import Sendable, check_arns, layer_arn
from layerpack.publish.function import (
    FunctionPlan,
    FunctionWish,
    find_function,
    plan_function,
)
from layerpack.publish.plan import LayerPlan, RegionPlan, plan_layer
from layerpack.publish.receipt import Receipt
from layerpack.publish.share import Share
from layerpack.publish.versions import is_same, latest_version


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asks for: a bucket's name or none, permissions to give, a function or none."""

    bucket: str = ""
    shares: tuple[Share, ...] = ()
    function: FunctionWish | None = None


def look(
    region: Region, build: Sendable, wish: Wish, identity: Identity, receipt: Receipt
) -> RegionPlan:
    """What has to be done in a region. Raises PublishError where that cannot be done."""
    check_arns(build.layers, identity, region.name)
    layers = tuple(_look_at_layers(region, build, receipt))
    function = _look_at_function(region, build, wish.function, identity, layers)
    bucket = ""
    if _needs_bucket(build, layers, function):
        bucket = find_bucket(region, identity, wish.bucket)
    plan = RegionPlan(
        region=region.name,
        account=identity.account,
        layers=layers,
        function=function,
        shares=wish.shares,
        bucket=bucket,
    )
    if plan.does_nothing and not wish.shares:
        return plan
    remarks = (
        check_room(region, plan.bytes_to_send) if plan.bytes_to_send else "",
        check_permissions(region, identity, _needs(plan, identity)),
    )
    return replace(plan, remarks=tuple(remark for remark in remarks if remark))


def _look_at_layers(region: Region, build: Sendable, receipt: Receipt) -> list[LayerPlan]:
    manifest = build.manifest
    found = []
    for artifact in build.layers:
        latest = latest_version(region, artifact.name)
        same = latest is not None and is_same(
            region,
            latest,
            artifact,
            receipt,
            runtime=manifest.runtime,
            architecture=manifest.architecture,
        )
        found.append(plan_layer(artifact, latest, same=same))
    return found


def _look_at_function(
    region: Region,
    build: Sendable,
    wish: FunctionWish | None,
    identity: Identity,
    layers: tuple[LayerPlan, ...],
) -> FunctionPlan | None:
    if wish is None or build.function is None:
        return None
    return plan_function(
        wish,
        build.manifest,
        build.function,
        former=find_function(region, wish.name),
        aliased=find_function(region, wish.name, wish.moves_alias) if wish.moves_alias else None,
        arns=[one.arn for one in layers],
        identity=identity,
        region=region.name,
    )


def _needs_bucket(
    build: Sendable, layers: tuple[LayerPlan, ...], function: FunctionPlan | None
) -> bool:
    if any(one.way == "s3" for one in layers):
        return True
    if function is None or build.function is None or "code" not in (function.changes or ("code",)):
        return False
    # The former code is sent again where the new one has to be taken back.
    former = (function.former or {}).get("CodeSize", 0)
    return build.function.needs_s3 or former > LambdaLimits.load().direct_upload_zip_bytes


def _needs(plan: RegionPlan, identity: Identity) -> list[Need]:
    """What the plan takes, for IAM's simulator."""
    needs = []
    for one in plan.layers:
        arn = layer_arn(identity, plan.region, one.artifact.name)
        if one.way != "reuse":
            needs.append(Need(action="lambda:PublishLayerVersion", resource=arn))
        if plan.shares:
            needs.append(Need(action="lambda:AddLayerVersionPermission", resource=f"{arn}:1"))
    if plan.bucket:
        resource = f"arn:{identity.partition}:s3:::{plan.bucket}/layerpack/*"
        needs.append(Need(action="s3:PutObject", resource=resource))
        needs.append(Need(action="s3:GetObject", resource=resource))
    function = plan.function
    if function and function.action != "unchanged":
        arn = f"arn:{identity.partition}:lambda:{plan.region}:{identity.account}:function"
        actions = ["lambda:InvokeFunction"]
        if function.action == "create":
            actions += ["lambda:CreateFunction", "lambda:DeleteFunction"]
        else:
            actions += ["lambda:GetFunction", "lambda:UpdateFunctionConfiguration"]
            if {"code", "architecture"} & set(function.changes):
                actions.append("lambda:UpdateFunctionCode")
        if function.alias:
            actions.append("lambda:PublishVersion")
        resource = f"{arn}:{function.name}"
        needs += [Need(action=action, resource=resource) for action in actions]
    return needs


def failed(region: str, account: str, error: LayerpackError) -> RegionPlan:
    """The plan for a region in which nothing can be done."""
    return RegionPlan(region=region, account=account, error=error)
