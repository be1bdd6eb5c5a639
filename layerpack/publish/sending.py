"""One layer to one region: sent directly or through S3, tried again where that is safe."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.bucket import remove, send
from layerpack.publish.checks import Artifact
from layerpack.publish.errors import AwsError
from layerpack.publish.versions import LayerVersion, code_sha256, latest_version
from layerpack.publish.zip_body import stand_in

_ATTEMPTS: Final = 6
_LONGEST_SECONDS: Final = 20.0
#: A request is signed for five minutes, and shall have gone by then also where many share a line:
#: 67 MB (50 MB as base64) take 4 of them at 18 Mbit/s, eight at once.
_DIRECT_AT_ONCE: Final = 8


class StoppedError(PublishError):
    """The run ends: nothing more is begun."""

    def __init__(self) -> None:
        super().__init__("ended before this was sent", "Publish again: it goes on from here.")


@dataclass(kw_only=True, slots=True)
class Traffic:
    """What all regions share: the end of the run, how many requests with zips there are at once,
    who is told of the bytes that went (`sent`, called in several threads)."""

    sent: Callable[[int], None] = lambda count: None
    stop: threading.Event = field(default_factory=threading.Event)
    direct: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(_DIRECT_AT_ONCE)
    )

    def check(self) -> None:
        """Raises StoppedError once the run ends."""
        if self.stop.is_set():
            raise StoppedError

    def passed(self, count: int) -> None:
        """Some bytes went. Raises StoppedError once the run ends."""
        self.check()
        self.sent(count)

    def pause(self, attempt: int, error: AwsError) -> None:
        """Wait before another attempt: longer each time, and by chance, so that those who failed
        together do not come back together. Raises StoppedError once the run ends."""
        longest = min(_LONGEST_SECONDS, 2.0**attempt)
        seconds = max(error.retry_after, longest * random.uniform(0.5, 1.0))  # noqa: S311
        if self.stop.wait(seconds):
            raise StoppedError


def again(traffic: Traffic, action: Callable[[], Any], *, safe: bool) -> Any:
    """The action's answer, tried again where AWS asks for fewer requests; with `safe`, also where
    it may have been done already. Raises AwsError."""
    for attempt in range(_ATTEMPTS):
        try:
            return action()
        except AwsError as error:
            retried = error.throttled or (safe and error.unanswered)
            if not retried or attempt == _ATTEMPTS - 1:
                raise
            traffic.pause(attempt, error)
    raise AssertionError("unreachable")


def code_of(
    region: Region, artifact: Artifact, bucket: str, traffic: Traffic, stack: ExitStack
) -> dict[str, Any]:
    """The zip as a request names it: a stand-in for it, or where it is in S3, until `stack` closes.

    Raises AwsError, PublishError.
    """
    if not artifact.needs_s3:
        stack.enter_context(traffic.direct)
        traffic.check()
        return {"ZipFile": stand_in(artifact.path)}
    key = send(region, bucket, artifact, traffic.passed)
    stack.callback(remove, region, bucket, key)
    return {"S3Bucket": bucket, "S3Key": key}


def publish_layer(
    region: Region,
    artifact: Artifact,
    *,
    runtime: str,
    architecture: str,
    bucket: str,
    traffic: Traffic,
    former: LayerVersion | None,
) -> LayerVersion:
    """Publish a version of a layer; `former` is the latest before it.

    Where AWS does not answer, the latest version is looked at before it is tried again, so that
    none is published twice. Raises AwsError, and PublishError where AWS has other bytes than were
    sent.
    """
    before = former.version if former else 0
    with ExitStack() as stack:
        content = code_of(region, artifact, bucket, traffic, stack)
        for attempt in range(_ATTEMPTS):
            traffic.check()
            try:
                version = _published(region, artifact, content, runtime, architecture)
            except AwsError as error:
                if not (error.throttled or error.unanswered) or attempt == _ATTEMPTS - 1:
                    raise
                traffic.pause(attempt, error)
                if error.unanswered:
                    found = latest_version(region, artifact.name)
                    if found and found.version > before and _holds(region, found, artifact):
                        return found
            else:
                if "ZipFile" in content:
                    traffic.sent(artifact.zipped_bytes)
                return version
    raise AssertionError("unreachable")


def _published(
    region: Region, artifact: Artifact, content: dict[str, Any], runtime: str, architecture: str
) -> LayerVersion:
    with region.told(f"publishing {artifact.name}"):
        answer = region.once.publish_layer_version(
            LayerName=artifact.name,
            Description=artifact.description,
            Content=content,
            CompatibleRuntimes=[runtime],
            CompatibleArchitectures=[architecture],
        )
    version = LayerVersion.of(artifact.name, answer)
    if answer["Content"].get("CodeSha256") != artifact.code_sha256:
        raise PublishError(
            f"{version.arn} does not hold what was sent (its CodeSha256 is "
            f"{answer['Content'].get('CodeSha256')!r}, the zip's {artifact.code_sha256!r})",
            "Publish again; if it happens again, delete that version, and report it.",
        )
    return version


def _holds(region: Region, version: LayerVersion, artifact: Artifact) -> bool:
    return code_sha256(region, version) == artifact.code_sha256
