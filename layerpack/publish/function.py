"""The function that gets the layers: what it is now, what has to change, the change itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from layerpack import data
from layerpack.errors import PublishError, UsageError
from layerpack.limits import MEMORY_MB, LambdaLimits, environment_problem
from layerpack.manifest import Manifest
from layerpack.publish.aws import Region
from layerpack.publish.checks import Artifact
from layerpack.publish.defaults import TIMEOUT_SECONDS
from layerpack.publish.errors import AwsError
from layerpack.publish.receipt import FunctionReceipt
from layerpack.publish.versions import layers_of

#: The alias that --snap-start moves, unless told: only published versions have snapshots.
USUAL_ALIAS: Final = "live"


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionWish:
    """What the user asks of the function: `role` is needed to create one, `memory` (MB) and
    `timeout` (seconds) are left as they are where they are None; `alias` gets a published
    version."""

    name: str
    role: str = ""
    memory: int | None = None
    timeout: int | None = None
    alias: str = ""
    snap_start: bool = False

    @property
    def moves_alias(self) -> str:
        """The alias to move to a new version; empty for none."""
        return self.alias or (USUAL_ALIAS if self.snap_start else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionPlan:
    """What becomes of the function: `action` is `create`, `update`, `unchanged`, or `prove` (it is
    up to date but not yet verified).

    `changes` names what is different; `keeps` are layers of others that stay, `drops` those that an
    earlier build of the recipe had; `interrupted`: an earlier run was ended while it changed it, so
    that what it was before is not known.
    """

    name: str
    action: str
    changes: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    alias: str = ""
    interrupted: bool = False
    former: dict[str, Any] | None = field(default=None, repr=False)


def check_wish(wish: FunctionWish, manifest: Manifest) -> None:
    """Raises UsageError for what Lambda would not take."""
    facts = data.load("publish.json")
    if manifest.function is None:
        raise UsageError(
            f"{manifest.name} has no function to publish",
            "Add `function:` to the recipe, or publish the layers alone.",
        )
    for value, fact, option, what, form in (
        (
            *(wish.name, "function_name", "--function", "a function's name"),
            "Letters, digits, '-' and '_', at most 64: the name alone, without ARN or alias.",
        ),
        (
            *(wish.alias, "alias_name", "--alias", "an alias"),
            "Letters, digits, '-' and '_', at most 128, and no number.",
        ),
        (
            *(wish.role, "role", "--role", "a role's ARN"),
            "Such as arn:aws:iam::123456789012:role/inference.",
        ),
    ):
        if value and not re.fullmatch(facts[fact], value):
            raise UsageError(f"{option}: '{value}' is not {what}", form)
    if wish.snap_start and manifest.runtime not in facts["snap_start_runtimes"]:
        known = ", ".join(facts["snap_start_runtimes"])
        raise UsageError(
            f"there is no SnapStart for {manifest.runtime}", f"Runtimes that have it: {known}."
        )


def find_function(region: Region, name: str, alias: str = "") -> dict[str, Any] | None:
    """The configuration of a function, or of the version that its alias names; None where there
    is none. Raises AwsError."""
    qualifier = {"Qualifier": alias} if alias else {}
    try:
        with region.told(f"looking for the function {name}"):
            found: dict[str, Any] = region.lambda_.get_function_configuration(
                FunctionName=name, **qualifier
            )
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    return found


def plan_function(
    wish: FunctionWish,
    manifest: Manifest,
    artifact: Artifact,
    *,
    former: dict[str, Any] | None,
    aliased: dict[str, Any] | None,
    arns: Sequence[str | None],
    own: Mapping[str, bool],
    region: str,
    known: FunctionReceipt | None = None,
    provable: bool = True,
) -> FunctionPlan:
    """What has to change; `former` is the function as it is, `aliased` the version that the wanted
    alias names; `arns` are the layers', None for those that have yet to be published; `own` are the
    ARNs, without versions, of the recipe's layers, and whether this build has them; `known` is what
    the receipt says, `provable`: the build has answers to hold the function against.

    Pure. Raises PublishError where the function cannot become what is wanted.
    """
    drops: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    if former is None:
        if not wish.role:
            raise PublishError(
                f"function {wish.name} does not exist in {region}, and creating it needs a role",
                "--role ARN: the IAM role that the function runs as.",
            )
        changes: tuple[str, ...] = ()
        action = "create"
    else:
        _check_former(former, wish, manifest)
        layers = [(arn, arn.rpartition(":")[0]) for arn in layers_of(former)]
        keeps = tuple(arn for arn, layer in layers if layer not in own)
        drops = tuple(arn for arn, layer in layers if own.get(layer) is False)
        changes = _changes(wish, manifest, artifact, former, [*arns, *keeps])
        if wish.moves_alias and (
            aliased is None or _changes(wish, manifest, artifact, aliased, [*arns, *keeps])
        ):
            changes = (*changes, "alias")
        owed = provable and (known is None or known.state != "proven")
        action = "update" if changes else "prove" if owed else "unchanged"
    most = LambdaLimits.load().layers
    if len(arns) + len(keeps) > most:
        raise PublishError(
            f"the function {wish.name} in {region} has {len(keeps)} layers of others "
            f"({', '.join(keeps)}), and with {len(arns)} of {manifest.name} it would have more "
            f"than {most}",
            "Take some off the function, or build with fewer: layers.max.",
        )
    return FunctionPlan(
        name=wish.name,
        action=action,
        changes=changes,
        keeps=keeps,
        drops=drops,
        alias=wish.moves_alias,
        interrupted=known is not None and known.state == "begun",
        former=former,
    )


def wanted_configuration(
    wish: FunctionWish, manifest: Manifest, former: Mapping[str, Any] | None, arns: Sequence[str]
) -> dict[str, Any]:
    """The function's configuration as UpdateFunctionConfiguration and CreateFunction take it.

    Raises PublishError where its former variables and the build's are more than Lambda takes.
    """
    assert manifest.function is not None  # noqa: S101 (check_wish)
    own = manifest.function.environment
    variables = {**_variables(former or {}), **own} if own else {}
    if problem := environment_problem(variables):
        raise PublishError(
            f"the function {wish.name} with function.environment: {problem}",
            "Take variables off the function, or off function.environment.",
        )
    wanted: dict[str, Any] = {
        "Runtime": manifest.runtime,
        "Handler": manifest.function.handler,
        "Layers": list(arns),
    }
    if variables:
        wanted["Environment"] = {"Variables": variables}
    memory = wish.memory or (None if former else MEMORY_MB)
    timeout = wish.timeout or (None if former else TIMEOUT_SECONDS)
    if memory:
        wanted["MemorySize"] = memory
    if timeout:
        wanted["Timeout"] = timeout
    if wish.role:
        wanted["Role"] = wish.role
    if wish.snap_start:
        wanted["SnapStart"] = {"ApplyOn": "PublishedVersions"}
    return wanted


def former_configuration(former: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """What takes a function back: the former values of all that `changed` sets."""
    back: dict[str, Any] = {}
    for key in changed:
        if key == "Layers":
            back[key] = list(layers_of(dict(former)))
        elif key == "Environment":
            back[key] = {"Variables": _variables(former)}
        elif key == "SnapStart":
            back[key] = {
                "ApplyOn": "PublishedVersions" if starts_from_snapshots(former) else "None"
            }
        elif key in former:
            back[key] = former[key]
    return back


def _changes(
    wish: FunctionWish,
    manifest: Manifest,
    artifact: Artifact,
    former: Mapping[str, Any],
    arns: Sequence[str | None],
) -> tuple[str, ...]:
    changes = []
    if former.get("CodeSha256") != artifact.code_sha256:
        changes.append("code")
    if architectures_of(former) != [manifest.architecture]:
        changes.append("architecture")
    # One that is not published yet has no ARN, and so is a change.
    wanted = wanted_configuration(wish, manifest, former, [arn or "" for arn in arns])
    current = former_configuration(former, wanted)
    names = {
        "Layers": "layers",
        "Runtime": "runtime",
        "Handler": "handler",
        "Environment": "environment",
        "MemorySize": "memory",
        "Timeout": "timeout",
        "Role": "role",
        "SnapStart": "SnapStart",
    }
    changes += [names[key] for key, value in wanted.items() if current.get(key) != value]
    return tuple(changes)


def _check_former(former: Mapping[str, Any], wish: FunctionWish, manifest: Manifest) -> None:
    if former.get("PackageType", "Zip") != "Zip":
        raise PublishError(
            f"the function {wish.name} is a container image, which has no layers",
            "Choose another --function.",
        )
    error = (former.get("Environment") or {}).get("Error")
    if error and manifest.function and manifest.function.environment:
        # With some added to them, they would be lost.
        raise PublishError(
            f"the variables of the function {wish.name} cannot be read: {error.get('Message')}",
            "Let these credentials decrypt them (kms:Decrypt), or use others: --profile.",
        )
    most = data.load("publish.json")["snap_start_tmp_mb"]
    storage = (former.get("EphemeralStorage") or {}).get("Size", most)
    if wish.snap_start and storage > most:
        raise PublishError(
            f"the function {wish.name} has {storage} MB of /tmp, and SnapStart allows {most}",
            f"Make it {most}, or publish without --snap-start.",
        )
    if wish.snap_start and former.get("FileSystemConfigs"):
        raise PublishError(
            f"the function {wish.name} has a file system (EFS), which SnapStart does not allow",
            "Take it off, or publish without --snap-start.",
        )


def architectures_of(former: Mapping[str, Any]) -> list[str]:
    """A function's architecture, as UpdateFunctionCode takes it."""
    return list(former.get("Architectures") or ["x86_64"])


def starts_from_snapshots(former: Mapping[str, Any] | None) -> bool:
    """Whether a function's published versions do."""
    return ((former or {}).get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions"


def _variables(former: Mapping[str, Any]) -> dict[str, str]:
    return dict((former.get("Environment") or {}).get("Variables") or {})
