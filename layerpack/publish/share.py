"""Who else may use a layer version: nobody, accounts, an organization, everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layerpack import data
from layerpack.errors import UsageError
from layerpack.publish.aws import Region
from layerpack.publish.errors import AwsError

_ACTION = "lambda:GetLayerVersion"


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A permission: its statement's identifier, the principal (an account's number or `*`), and
    the organization that `*` is confined to, if any."""

    statement: str
    principal: str
    organization: str = ""

    def __str__(self) -> str:
        if self.organization:
            return f"organization {self.organization}"
        return "everybody" if self.principal == "*" else f"account {self.principal}"


def shares_of(accounts: Sequence[str], organizations: Sequence[str], public: bool) -> list[Share]:
    """The permissions that the options ask for. Raises UsageError."""
    facts = data.load("publish.json")
    for account in accounts:
        if not re.fullmatch(facts["account"], account):
            raise UsageError(f"--account: '{account}' is not an account ID (twelve digits)")
    for organization in organizations:
        if not re.fullmatch(facts["organization"], organization):
            raise UsageError(f"--organization: '{organization}' is not an organization's ID (o-…)")
    found = [Share(statement=f"layerpack-account-{one}", principal=one) for one in accounts]
    found += [
        Share(statement=f"layerpack-organization-{one}", principal="*", organization=one)
        for one in organizations
    ]
    if public:
        found.append(Share(statement="layerpack-public", principal="*"))
    return list(dict.fromkeys(found))


def share(region: Region, layer: str, version: int, shares: Sequence[Share]) -> list[Share]:
    """Give a layer version those permissions that it has not, and give them. Raises AwsError."""
    if not shares:
        return []
    name = f"{layer}:{version}"
    statements = _statements(region, layer, version)
    identifiers = {one.get("Sid") for one in statements}
    granted = {_key(one) for one in statements}
    missing = [
        one
        for one in shares
        if one.statement not in identifiers and (one.principal, one.organization) not in granted
    ]
    for one in missing:
        more = {"OrganizationId": one.organization} if one.organization else {}
        try:
            with region.told(f"sharing {name} with {one}"):
                region.lambda_.add_layer_version_permission(
                    LayerName=layer,
                    VersionNumber=version,
                    StatementId=one.statement,
                    Action=_ACTION,
                    Principal=one.principal,
                    **more,
                )
        except AwsError as error:
            # An unanswered request that was asked again had been carried out.
            if error.code != "ResourceConflictException":
                raise
    return missing


def _statements(region: Region, layer: str, version: int) -> list[dict[str, Any]]:
    try:
        with region.told(f"looking who may use {layer}:{version}"):
            answer = region.lambda_.get_layer_version_policy(LayerName=layer, VersionNumber=version)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return []
        raise
    statements: list[dict[str, Any]] = json.loads(answer["Policy"]).get("Statement", [])
    return statements


def _key(statement: dict[str, Any]) -> tuple[str, str]:
    """The principal (an account's number, out of its root's ARN) and the organization; nobody for
    a statement with conditions of another kind."""
    principal = statement.get("Principal", "")
    if isinstance(principal, dict):
        principal = principal.get("AWS", "")
    arn = re.fullmatch(r"arn:aws[a-z-]*:iam::([0-9]{12}):root", str(principal))
    conditions = dict(statement.get("Condition") or {})
    organization = (conditions.pop("StringEquals", None) or {}).get("aws:PrincipalOrgID", "")
    known = set(statement) <= {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if conditions or not known or statement.get("Effect") != "Allow":
        return "", ""
    return arn[1] if arn else str(principal), str(organization)
