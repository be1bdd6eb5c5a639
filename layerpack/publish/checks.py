"""What can be known of a build before AWS is asked: its zips, its limits, its names."""

from __future__ import annotations

import base64
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from layerpack import data
from layerpack.answers import Answers
from layerpack.emulation import profile_of
from layerpack.errors import LimitError, PublishError, UsageError
from layerpack.events import Events
from layerpack.limits import LambdaLimits
from layerpack.manifest import FileInventory, Manifest
from layerpack.publish.aws import Identity
from layerpack.report.model import limit_error, size_report
from layerpack.units import sha256_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A zip to send: a layer's name (or the function's), its file, SHA-256 in hexadecimal, sizes
    in bytes, and a description for AWS's console."""

    name: str
    path: Path
    sha256: str
    zipped_bytes: int
    description: str = ""

    @property
    def code_sha256(self) -> str:
        """The SHA-256 as AWS writes it, `CodeSha256`: base64 of the digest."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()

    @property
    def needs_s3(self) -> bool:
        """Whether it is too large to be sent in the request itself."""
        return self.zipped_bytes > LambdaLimits.load().direct_upload_zip_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Sendable:
    """A build whose zips are whole and within the limits; `function` is its package, if any, and
    `answers` what it answered when it was verified, if it was."""

    folder: Path
    manifest: Manifest
    layers: tuple[Artifact, ...]
    function: Artifact | None
    answers: Answers | None


def sendable(folder: Path, events: Events) -> Sendable:
    """Check a build, and give what there is to send.

    Raises LimitError for one that Lambda would refuse, UsageError for one that is not as it was
    built, or in which the receipt cannot be written.
    """
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"{folder} is not writable, and publish writes its receipt there",
            "Make the folder writable, or publish a copy of the build.",
        )
    manifest = Manifest.read(folder / "manifest.json")
    inventory = FileInventory.read(folder / "files.json")
    if error := limit_error(size_report(manifest, inventory)):
        raise LimitError(f"{error.message}; Lambda would refuse it", error.hint)
    today = date.today()
    profile = profile_of(manifest)
    if profile.deprecated <= today:
        events.warn(f"AWS deprecated {manifest.runtime} on {profile.deprecated}")
    layers = []
    versions = {one.name: one.version for one in manifest.distributions}
    for record in manifest.layers:
        path = folder / record.file
        _check_zip(path, record.sha256, record.unzipped_bytes)
        layers.append(
            Artifact(
                name=_layer_name(record.name),
                path=path,
                sha256=record.sha256,
                zipped_bytes=record.zipped_bytes,
                description=_description(manifest.name, record.distributions, versions),
            )
        )
    function = None
    if manifest.function is not None:
        path = folder / manifest.function.file
        _check_zip(path, manifest.function.sha256, manifest.function.unzipped_bytes)
        function = Artifact(
            name=manifest.name,
            path=path,
            sha256=manifest.function.sha256,
            zipped_bytes=manifest.function.zipped_bytes,
        )
    answers = Answers.read(folder)
    if answers is None and manifest.verified.get("workloads"):
        raise UsageError(
            f"{folder} was verified, but answers.json is missing",
            "Build the recipe again, or verify it: layerpack verify.",
        )
    return Sendable(
        folder=folder,
        manifest=manifest,
        layers=tuple(layers),
        function=function,
        answers=answers,
    )


def check_arns(artifacts: Sequence[Artifact], identity: Identity, regions: Sequence[str]) -> None:
    """Raises LimitError where a layer's ARN would be longer than Lambda allows."""
    most = data.load("publish.json")["layer_arn_characters"]
    for region in regions:
        start = f"arn:{identity.partition}:lambda:{region}:{identity.account}:layer:"
        for artifact in artifacts:
            if len(start + artifact.name) > most:
                raise LimitError(
                    f"{start}{artifact.name} has {len(start + artifact.name)} characters, and "
                    f"Lambda allows {most}",
                    "Give the recipe a shorter name.",
                )


def not_what_was_sent(what: str, answer: Mapping[str, Any], artifact: Artifact) -> PublishError:
    """The error for an answer of AWS's whose `CodeSha256` is not the artifact's."""
    return PublishError(
        f"{what} differs from the zip that was sent (its CodeSha256 is "
        f"{answer.get('CodeSha256')!r}, the zip's {artifact.code_sha256!r})",
        "Somebody else may write into the bucket, or change it. Publish again; if it happens "
        "again, report it.",
    )


def _check_zip(path: Path, sha256: str, unzipped_bytes: int) -> None:
    hint = "Build the recipe again."
    try:
        if sha256_file(path) != sha256:
            raise UsageError(f"{path} is not as it was built", hint)
        with zipfile.ZipFile(path) as archive:
            members = sum(member.file_size for member in archive.infolist())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint) from None
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path} is no zip: {error}", hint) from None
    if members != unzipped_bytes:
        raise UsageError(
            f"{path} unzips to {members:,} bytes, and manifest.json says {unzipped_bytes:,}", hint
        )


def _layer_name(name: str) -> str:
    if not re.fullmatch(data.load("publish.json")["layer_name"], name):
        raise UsageError(
            f"'{name}' is not a name that Lambda takes for a layer",
            "Letters, digits, '-' and '_': name the recipe so, and build it again.",
        )
    return name


def _description(recipe: str, names: tuple[str, ...], versions: dict[str, str]) -> str:
    """What the layer holds, as long as Lambda takes it."""
    most: int = data.load("publish.json")["layer_description_characters"]
    parts = [f"{name} {versions.get(name, '')}".strip() for name in names]
    text = f"{recipe}: {', '.join(parts)}"
    return text if len(text) <= most else text[: most - 3] + "..."
