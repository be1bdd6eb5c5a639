"""Layer versions as AWS has them: which there are, what is in the latest, who uses them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from layerpack.publish.aws import Region
from layerpack.publish.checks import Artifact
from layerpack.publish.errors import AwsError
from layerpack.publish.receipt import LayerReceipt, Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerVersion:
    """A version of a layer; `created` is AWS's own text (ISO 8601)."""

    layer: str
    version: int
    arn: str
    created: str
    runtimes: tuple[str, ...]
    architectures: tuple[str, ...]

    @classmethod
    def of(cls, layer: str, answer: dict[str, Any]) -> LayerVersion:
        """From an entry of ListLayerVersions, or PublishLayerVersion's answer."""
        return cls(
            layer=layer,
            version=int(answer["Version"]),
            arn=answer["LayerVersionArn"],
            created=str(answer.get("CreatedDate", "")),
            runtimes=tuple(answer.get("CompatibleRuntimes") or ()),
            architectures=tuple(answer.get("CompatibleArchitectures") or ()),
        )

    def is_for(self, runtime: str, architecture: str) -> bool:
        """Whether it is for that runtime and architecture, and no other."""
        return (self.runtimes, self.architectures) == ((runtime,), (architecture,))


def layer_names(region: Region) -> list[str]:
    """Every layer of the account in a region. Raises AwsError."""
    with region.told("listing layers"):
        pages = region.lambda_.get_paginator("list_layers").paginate()
        return sorted(one["LayerName"] for page in pages for one in page["Layers"])


def layer_versions(region: Region, layer: str) -> list[LayerVersion]:
    """The versions of a layer, the newest first; none where there is no such layer.

    Raises AwsError.
    """
    try:
        with region.told(f"listing the versions of {layer}"):
            pages = region.lambda_.get_paginator("list_layer_versions").paginate(LayerName=layer)
            found = [LayerVersion.of(layer, one) for page in pages for one in page["LayerVersions"]]
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return []
        raise
    return sorted(found, key=lambda one: -one.version)


def latest_version(region: Region, layer: str) -> LayerVersion | None:
    """A layer's latest version. Raises AwsError."""
    try:
        with region.told(f"looking for {layer}"):
            # AWS gives the newest first: the latest is on the first page.
            answer = region.lambda_.list_layer_versions(LayerName=layer)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    found = [LayerVersion.of(layer, one) for one in answer["LayerVersions"]]
    return max(found, key=lambda one: one.version, default=None)


def code_sha256(region: Region, version: LayerVersion) -> str:
    """The `CodeSha256` of a version. Raises AwsError."""
    with region.told(f"looking at {version.arn}"):
        answer = region.lambda_.get_layer_version(
            LayerName=version.layer, VersionNumber=version.version
        )
    return str(answer["Content"].get("CodeSha256", ""))


def is_same(
    region: Region,
    version: LayerVersion,
    artifact: Artifact,
    receipt: Receipt,
    *,
    runtime: str,
    architecture: str,
) -> bool:
    """Whether a version holds the artifact, for the same runtime and architecture.

    What the receipt knows of that very version is not asked again: versions never change.
    """
    if not version.is_for(runtime, architecture):
        return False
    known = receipt.layer(region.place, version.layer)
    if known and (known.arn, known.created) == (version.arn, version.created):
        return known.sha256 == artifact.sha256
    return code_sha256(region, version) == artifact.code_sha256


def description(region: Region, arn: str) -> str:
    """The description of a layer version of this account. Raises AwsError."""
    with region.told(f"looking at {arn}"):
        layer, _, version = arn.rpartition(":")
        answer = region.lambda_.get_layer_version(
            LayerName=layer.rpartition(":")[2], VersionNumber=int(version)
        )
    return str(answer.get("Description", ""))


def receipt_of(version: LayerVersion, artifact: Artifact) -> LayerReceipt:
    """What the receipt says of a version."""
    return LayerReceipt(arn=version.arn, sha256=artifact.sha256, created=version.created)


def users(region: Region) -> dict[str, list[str]]:
    """Which functions of the account use each layer version, by its ARN: all their versions
    count. Raises AwsError."""
    found: dict[str, list[str]] = {}
    with region.told("listing functions"):
        pages = region.lambda_.get_paginator("list_functions").paginate(FunctionVersion="ALL")
        for page in pages:
            for function in page["Functions"]:
                name = function["FunctionName"]
                version = function.get("Version", "$LATEST")
                shown = name if version == "$LATEST" else f"{name}:{version}"
                for arn in layers_of(function):
                    found.setdefault(arn, []).append(shown)
    return found


def layers_of(function: dict[str, Any]) -> Iterable[str]:
    """The ARNs of the layers in a function's configuration, in their order."""
    return [one["Arn"] for one in function.get("Layers") or ()]
