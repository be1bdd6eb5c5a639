"""Looking at a region: what is there, so what has to be done. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from layerpack.limits import LambdaLimits
from layerpack.publish.account import Need, check_permissions, check_room
from layerpack.publish.aws import Region
from layerpack.publish.bucket import find_bucket
from layerpack.publish.checks import Sendable
from layerpack.publish.errors import AwsError
from layerpack.publish.function import (
    FunctionPlan,
    FunctionWish,
    find_function,
    plan_function,
)
from layerpack.publish.plan import LayerPlan, RegionPlan, plan_layer
from layerpack.publish.receipt import Receipt
from layerpack.publish.share import Share
from layerpack.publish.versions import description, is_same, latest_version, layers_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asks for: a bucket's name or none, permissions to give, a function or none."""

    bucket: str = ""
    shares: tuple[Share, ...] = ()
    function: FunctionWish | None = None


def look(region: Region, build: Sendable, wish: Wish, receipt: Receipt) -> RegionPlan:
    """What has to be done in a region. Raises PublishError where that cannot be done."""
    layers = tuple(_look_at_layers(region, build, receipt))
    function = None
    if wish.function is not None:
        arns = [one.arn for one in layers]
        function = look_at_function(region, build, wish.function, arns, receipt)
    bucket = None
    if any(one.way == "s3" for one in layers) or code_needs_bucket(build, function):
        bucket = find_bucket(region, wish.bucket)
    plan = RegionPlan(
        region=region.name,
        account=region.identity.account,
        layers=layers,
        function=function,
        shares=wish.shares,
        bucket=bucket,
    )
    if plan.does_nothing and not wish.shares:
        return plan
    more = build.function.zipped_bytes if build.function and _sends_code(function) else 0
    remarks = (
        check_room(region, plan.bytes_to_send + more) if plan.bytes_to_send + more else "",
        check_permissions(region, _needs(plan, region, wish, build)),
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


def look_at_function(
    region: Region,
    build: Sendable,
    wish: FunctionWish,
    arns: Sequence[str | None],
    receipt: Receipt,
) -> FunctionPlan:
    """What has to become of the function, with the layers `arns` (None: yet to be published).

    Raises PublishError where it cannot become that.
    """
    assert build.function is not None  # noqa: S101 (check_wish)
    former = find_function(region, wish.name)
    return plan_function(
        wish,
        build.manifest,
        build.function,
        former=former,
        aliased=find_function(region, wish.name, wish.moves_alias) if wish.moves_alias else None,
        arns=arns,
        own=_own_layers(region, build, list(layers_of(former or {})), receipt),
        region=region.name,
        known=receipt.function(region.place, wish.name),
        provable=build.answers is not None,
    )


def _own_layers(
    region: Region, build: Sendable, attached: Sequence[str], receipt: Receipt
) -> dict[str, bool]:
    """The ARNs, without versions, of the recipe's layers, and whether this build has them.

    Others are known by the receipt; where there is none (a machine that builds for the first time),
    by a name that begins as the recipe's do, together with a description that layerpack wrote.
    """
    name = build.manifest.name
    own = {region.arn("layer", layer): False for layer in receipt.layers(region.place)}
    own |= {region.arn("layer", artifact.name): True for artifact in build.layers}
    for arn in attached:
        layer = arn.rpartition(":")[0]
        likely = layer not in own and layer.startswith(region.arn("layer", f"{name}-"))
        if likely and _is_recipes(region, arn, name):
            own[layer] = False
    return own


def _is_recipes(region: Region, arn: str, recipe: str) -> bool:
    """Whether a layer version, whose name begins as the recipe's do, is one of it."""
    try:
        return description(region, arn).startswith(f"{recipe}: ")
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            # It was deleted: AWS takes no update that has it.
            return True
        if error.status == 403:
            return False
        raise


def _sends_code(function: FunctionPlan | None) -> bool:
    if function is None:
        return False
    return function.action == "create" or bool({"code", "architecture"} & set(function.changes))


def code_needs_bucket(build: Sendable, function: FunctionPlan | None) -> bool:
    """Whether the function's code, or the former one, is too large for one request."""
    if function is None or build.function is None or not _sends_code(function):
        return False
    # The former code is sent again where the new one has to be taken back.
    former = (function.former or {}).get("CodeSize", 0)
    return build.function.needs_s3 or former > LambdaLimits.load().direct_upload_zip_bytes


def _needs(plan: RegionPlan, region: Region, wish: Wish, build: Sendable) -> list[Need]:
    """What the plan takes, for IAM's simulator, which is asked once for each of these."""
    new = [one for one in plan.layers if one.way != "reuse"]
    needs = []
    if new:
        arns = tuple(region.arn("layer", one.artifact.name) for one in new)
        needs.append(Need(actions=("lambda:PublishLayerVersion",), resources=arns))
    versions = tuple(f"{region.arn('layer', one.artifact.name)}:1" for one in plan.layers)
    actions = ["lambda:GetLayerVersion"]
    if plan.shares:
        actions += ["lambda:AddLayerVersionPermission", "lambda:GetLayerVersionPolicy"]
    needs.append(Need(actions=tuple(actions), resources=versions))
    if plan.bucket:
        objects = f"arn:{region.identity.partition}:s3:::{plan.bucket.name}/layerpack/*"
        of_objects = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
        # A bucket's own policy, which the simulator does not see, may allow it.
        needs.append(Need(actions=of_objects, resources=(objects,), elsewhere=True))
    provable = build.answers is not None
    return needs + _function_needs(plan, region, wish, provable=provable)


def _function_needs(plan: RegionPlan, region: Region, wish: Wish, *, provable: bool) -> list[Need]:
    function, wished = plan.function, wish.function
    if function is None or wished is None or function.action == "unchanged":
        return []
    actions = ["lambda:GetFunctionConfiguration"]
    if provable:
        actions.append("lambda:InvokeFunction")
    if function.action == "create":
        actions += ["lambda:CreateFunction", "lambda:DeleteFunction"]
    elif set(function.changes) - {"code", "architecture", "alias"}:
        actions.append("lambda:UpdateFunctionConfiguration")
    if function.action != "create" and _sends_code(function):
        actions += ["lambda:GetFunction", "lambda:UpdateFunctionCode"]
    if function.alias:
        actions += ["lambda:PublishVersion", "lambda:ListVersionsByFunction", "lambda:GetAlias"]
        actions += ["lambda:CreateAlias", "lambda:UpdateAlias", "lambda:DeleteAlias"]
        actions.append("lambda:DeleteFunction")
    arn = region.arn("function", function.name)
    needs = [Need(actions=tuple(dict.fromkeys(actions)), resources=(arn,))]
    if wished.role:
        # Denied as often as forgotten, and told by Lambda only when the function is made.
        needs.append(Need(actions=("iam:PassRole",), resources=(wished.role,)))
    return needs
