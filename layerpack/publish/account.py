"""What can be seen of an account before anything is sent: room for code, permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from layerpack.errors import PublishError
from layerpack.publish.aws import Identity, Region
from layerpack.publish.errors import AwsError
from layerpack.units import human_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Actions that publishing takes, and the ARNs that they are for; `elsewhere`: what the
    credentials' own policies do not allow, the resource's may."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    elsewhere: bool = False


def check_room(region: Region, zipped_bytes: int) -> str:
    """Whether the account has room for so much more code: a remark where that cannot be seen.

    Raises PublishError where it has not.
    """
    try:
        with region.told("looking how much room the account has for code"):
            answer = region.lambda_.get_account_settings()
    except AwsError as error:
        if error.unanswered:
            raise
        return f"how much room the account has for code cannot be seen: {error.message}"
    try:
        limit = int(answer["AccountLimit"]["TotalCodeSize"])
        used = int(answer["AccountUsage"]["TotalCodeSize"])
    except (KeyError, TypeError, ValueError):
        return "AWS does not tell how much room the account has for code"
    if used + zipped_bytes > limit:
        raise PublishError(
            f"the account has room for {human_size(max(0, limit - used))} of code in "
            f"{region.name} ({human_size(used)} of {human_size(limit)} are used), and "
            f"{human_size(zipped_bytes)} would be sent",
            "Delete old versions (`layerpack prune`), or have the quota raised.",
        )
    return ""


def check_permissions(region: Region, needs: Iterable[Need]) -> str:
    """Whether the credentials' own policies allow what is needed, as IAM's simulator tells.

    Gives a remark where that cannot be seen: the simulator is itself an action that few may use,
    and the account's root has no policies. Raises PublishError, naming what is not allowed.
    """
    source = _policy_source(region.identity)
    if not source:
        return "permissions cannot be seen beforehand for these credentials"
    denied: set[str] = set()
    try:
        for need in needs:
            with region.told("looking what these credentials may do"):
                pages = region.iam.get_paginator("simulate_principal_policy").paginate(
                    PolicySourceArn=source,
                    ActionNames=list(need.actions),
                    ResourceArns=list(need.resources),
                )
                denied |= {
                    _denied(one, need) for page in pages for one in page["EvaluationResults"]
                }
    except AwsError as error:
        if error.unanswered:
            raise
        return f"permissions cannot be seen beforehand: {error.message}"
    if wrong := sorted(denied - {""}):
        raise PublishError(
            f"{region.identity.arn} lacks permissions that publishing needs: {', '.join(wrong)}",
            "Let the role or user do it (IAM), or use another one: --profile.",
        )
    return ""


def _denied(result: dict[str, Any], need: Need) -> str:
    """What a simulation refuses; empty where it allows, or lacks what a condition asks for."""
    decision = result["EvalDecision"]
    if decision == "allowed" or result.get("MissingContextValues"):
        return ""
    if need.elsewhere and decision != "explicitDeny":
        return ""
    return f"{result['EvalActionName']} on {result.get('EvalResourceName') or need.resources[0]}"


def _policy_source(identity: Identity) -> str:
    """The user's or role's own ARN, which policies hang on; empty where it is neither."""
    if re.search(r":iam::[0-9]{12}:(user|role)/", identity.arn):
        return identity.arn
    session = re.fullmatch(r"arn:([a-z-]+):sts::([0-9]{12}):assumed-role/(.+)/[^/]+", identity.arn)
    # A role of SSO stands below a path that its session does not tell.
    if session and not session[3].startswith("AWSReservedSSO_"):
        return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"
    return ""
