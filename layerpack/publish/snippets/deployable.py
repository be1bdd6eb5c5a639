"""What a snippet is made of: a build's function and layers, by ARN or by zip."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.errors import UsageError
from layerpack.limits import LambdaLimits
from layerpack.manifest import FunctionRecord, Manifest
from layerpack.publish.receipt import Receipt, RegionReceipt

#: In the first line of every snippet.
MARK: Final = "packed by layerpack"


@dataclass(frozen=True, kw_only=True, slots=True)
class SnippetLayer:
    """A layer: its name, the tool's name for it, and either its version's ARN, or its zip (as the
    snippet's file finds it) with its hash; `needs_s3`: too large for one request."""

    name: str
    identifier: str
    arn: str = ""
    zip: str = ""
    sha256: str = ""
    needs_s3: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployable:
    """A build to deploy: `region` is where the layers are published, empty where zips are named;
    `function_zip` is as the snippet's file finds it."""

    name: str
    identifier: str
    description: str
    runtime: str
    architecture: str
    layers: tuple[SnippetLayer, ...]
    function: FunctionRecord | None
    function_zip: str
    function_needs_s3: bool
    region: str

    @property
    def origin(self) -> str:
        """Where it comes from, for a comment."""
        where = f"layers published in {self.region}" if self.region else "layers from local zips"
        return f"{self.name}, {MARK}: {where}"


def deployable(
    folder: Path, manifest: Manifest, *, beside: Path, region: str, endpoint: str, zips: bool
) -> Deployable:
    """The build in `folder`, for a snippet in the folder `beside`.

    Layers are named by their ARNs where they are published as they are now, in `region` (where
    they are in several, one has to be named) by `endpoint` (empty: AWS's own), and else, or with
    `zips`, by their zips.

    Raises UsageError where a region is asked for in which they are not.
    """
    place, found = ("", None) if zips else _published(folder, manifest, region, endpoint)
    taken: set[str] = set()
    most = LambdaLimits.load().direct_upload_zip_bytes

    def path(file: str) -> str:
        return Path(os.path.relpath(folder / file, beside)).as_posix()

    layers = tuple(
        SnippetLayer(
            name=layer.name,
            identifier=_identifier(f"{layer.name}-layer", taken),
            arn=found.layers[layer.name].arn if found else "",
            zip="" if found else path(layer.file),
            sha256=layer.sha256,
            needs_s3=not found and layer.zipped_bytes > most,
        )
        for layer in manifest.layers
    )
    function = manifest.function
    if found and function is None:
        raise UsageError(
            f"{manifest.name} has no function, and its layers are published: there is nothing "
            "left to deploy",
            "`layerpack list` prints their ARNs; --zips makes layers of your own.",
        )
    return Deployable(
        name=manifest.name,
        identifier=_identifier(f"{manifest.name}-function", taken),
        description=manifest.description,
        runtime=manifest.runtime,
        architecture=manifest.architecture,
        layers=layers,
        function=function,
        function_zip=path(function.file) if function else "",
        function_needs_s3=function is not None and function.zipped_bytes > most,
        region=place,
    )


def _published(
    folder: Path, manifest: Manifest, region: str, endpoint: str
) -> tuple[str, RegionReceipt | None]:
    regions = {
        name: one
        for name, one in Receipt.read(folder).regions.items()
        if one.endpoint == endpoint
        and all(
            layer.name in one.layers and one.layers[layer.name].sha256 == layer.sha256
            for layer in manifest.layers
        )
    }
    if region and region not in regions:
        there = ", ".join(sorted(regions)) or "nowhere"
        raise UsageError(
            f"{folder} as it is now is not published in {region} (but {there})",
            f"layerpack publish {folder} --region {region}, or --zips for layers of your own.",
        )
    if len(regions) > 1 and not region:
        raise UsageError(
            f"{folder} is published in {', '.join(sorted(regions))}: which one is it for?",
            "Name it: --region.",
        )
    name = region or next(iter(regions), "")
    return name, regions.get(name)


def _identifier(name: str, taken: set[str]) -> str:
    """A name of letters and digits, as all the tools take it: `bert-mxnet` -> `BertMxnet`."""
    words = [word for word in re.split(r"[^a-zA-Z0-9]+", name) if word]
    base = "".join(word[0].upper() + word[1:] for word in words)
    if not base[0].isalpha():
        base = f"L{base}"
    found, number = base, 2
    while found in taken:
        found, number = f"{base}{number}", number + 1
    taken.add(found)
    return found


def comment(lines: Iterable[str]) -> str:
    """Lines as a comment of YAML, Python and HCL."""
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
