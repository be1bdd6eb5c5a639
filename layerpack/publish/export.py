"""A build as a snippet for the tool that deploys it. Nothing is asked of AWS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from layerpack.manifest import Manifest
from layerpack.publish.snippets.cdk import cdk
from layerpack.publish.snippets.cloudformation import cloudformation, sam
from layerpack.publish.snippets.deployable import Deployable, deployable
from layerpack.publish.snippets.serverless import serverless
from layerpack.publish.snippets.terraform import terraform
from layerpack.user_paths import sealed

Tool = Literal["sam", "cdk", "terraform", "serverless", "cloudformation"]
_WRITERS: Final[dict[Tool, Callable[[Deployable], str]]] = {
    "sam": sam,
    "cdk": cdk,
    "terraform": terraform,
    "serverless": serverless,
    "cloudformation": cloudformation,
}


def export(
    folder: Path, tool: Tool, *, beside: Path, region: str, endpoint: str, zips: bool
) -> str:
    """The snippet for `tool`, as a file in the folder `beside` would have it; see `deployable`."""
    manifest = Manifest.read(folder / "manifest.json")
    build = deployable(folder, manifest, beside=beside, region=region, endpoint=endpoint, zips=zips)
    return sealed(_WRITERS[tool](build))
