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
from layerpack.publish.bucket import Bucket, remove, send
from layerpack.publish.checks import Artifact, not_what_was_sent
from layerpack.publish.errors import AwsError
from layerpack.publish.versions import LayerVersion, code_sha256, latest_version
from layerpack.publish.zip_body import stand_in

ATTEMPTS: Final = 6
_LONGEST_SECONDS: Final = 20.0
#: Where a connection broke, AWS may still be looking into the zip: it is looked for after these
#: pauses, in seconds, before it is sent again.
LOOKS: Final = (1.0, 2.0, 4.0, 8.0)
#: A signature is valid for five minutes: requests must be sent by then on a shared line too.
#: 67 MB (50 MB as base64) take 4 of them at 18 Mbit/s, eight at once.
_DIRECT_AT_ONCE: Final = 8


class StoppedError(PublishError):
    """The run ends: nothing more is begun."""

    def __init__(self) -> None:
        super().__init__("ended before this was sent", "Publish again: it goes on from here.")


@dataclass(kw_only=True, slots=True)
class Traffic:
    """What all regions share: the end of the run, how many requests with zips there are at once,
    sinks for bytes sent (`sent`), retries (`note`) and leftovers (`warn`), all called in several
    threads."""

    sent: Callable[[int], None] = lambda count: None
    note: Callable[[str], None] = lambda text: None
    warn: Callable[[str], None] = lambda text: None
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
        """Wait before another attempt. Raises StoppedError once the run ends."""
        seconds = pause_seconds(attempt, error.retry_after, random.uniform(0.5, 1.0))  # noqa: S311
        self.note(f"{error.message}: trying again in {seconds:.1f} s")
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises StoppedError once the run ends."""
        if self.stop.wait(seconds):
            raise StoppedError


def pause_seconds(attempt: int, retry_after: float, chance: float) -> float:
    """How long to wait after an attempt (from 0): longer each time, and by chance (0.5 to 1), so
    that those who failed together do not come back together; as long as AWS asks for. Pure."""
    return max(retry_after, min(_LONGEST_SECONDS, 2.0**attempt) * chance)


def again(traffic: Traffic, action: Callable[[], Any], *, safe: bool) -> Any:
    """The action's answer, tried again where AWS asks for fewer requests; with `safe`, also where
    it may have been done already. Raises AwsError."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except AwsError as error:
            retried = error.throttled or (safe and error.unanswered)
            if not retried or attempt == ATTEMPTS - 1:
                raise
            traffic.pause(attempt, error)
    raise AssertionError("unreachable")


def code_of(
    region: Region,
    artifact: Artifact,
    bucket: Bucket | None,
    traffic: Traffic,
    stack: ExitStack,
) -> dict[str, Any]:
    """The zip as a request names it: a stand-in for it, or where it is in S3, until `stack` closes.

    Raises AwsError, PublishError.
    """
    if artifact.needs_s3 and bucket is None:
        raise PublishError(
            f"{artifact.path.name} is too large for one request, and no bucket was looked for",
            "Publish again: the function was changed meanwhile.",
        )
    if not artifact.needs_s3 or bucket is None:
        stack.enter_context(traffic.direct)
        traffic.check()
        return {"ZipFile": stand_in(artifact.path)}
    sent = send(region, bucket, artifact, traffic.passed)

    def clean_up() -> None:
        if problem := remove(region, sent):
            traffic.warn(f"{problem}: {sent.key} stays in the bucket {bucket.name}")

    stack.callback(clean_up)
    return sent.code


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRequest:
    """A layer to publish: what it holds, and what it is for; `former` is the latest version."""

    artifact: Artifact
    runtime: str
    architecture: str
    former: LayerVersion | None

    def is_held_by(self, region: Region, version: LayerVersion) -> bool:
        """Whether a version is what this asks for. Raises AwsError."""
        return (
            version.version > (self.former.version if self.former else 0)
            and version.is_for(self.runtime, self.architecture)
            and code_sha256(region, version) == self.artifact.code_sha256
        )


def publish_layer(
    region: Region,
    request: LayerRequest,
    bucket: Bucket | None,
    traffic: Traffic,
) -> LayerVersion:
    """Publish a version of a layer.

    Where AWS does not answer, the version is looked for, for some seconds, before it is sent
    again. Raises AwsError, and PublishError where AWS has other bytes than were sent.
    """
    artifact = request.artifact
    with ExitStack() as stack:
        content = code_of(region, artifact, bucket, traffic, stack)
        for attempt in range(ATTEMPTS):
            traffic.check()
            try:
                version = _published(region, request, content)
            except AwsError as error:
                found = _looked_for(region, request, error, traffic)
                if found is not None:
                    return found
                if not (error.throttled or error.unanswered) or attempt == ATTEMPTS - 1:
                    raise
                traffic.pause(attempt, error)
            else:
                if "ZipFile" in content:
                    traffic.sent(artifact.zipped_bytes)
                return version
    raise AssertionError("unreachable")


def _looked_for(
    region: Region, request: LayerRequest, error: AwsError, traffic: Traffic
) -> LayerVersion | None:
    """The version that an unanswered request made, if it did."""
    if not error.unanswered:
        return None
    # A service that says that it failed is not still at it.
    for seconds in LOOKS[:1] if error.status else LOOKS:
        traffic.wait(seconds)
        found = latest_version(region, request.artifact.name)
        if found and request.is_held_by(region, found):
            return found
    return None


def _published(region: Region, request: LayerRequest, content: dict[str, Any]) -> LayerVersion:
    artifact = request.artifact
    with region.told(f"publishing {artifact.name}"):
        answer = region.once.publish_layer_version(
            LayerName=artifact.name,
            Description=artifact.description,
            Content=content,
            CompatibleRuntimes=[request.runtime],
            CompatibleArchitectures=[request.architecture],
        )
    version = LayerVersion.of(artifact.name, answer)
    if answer["Content"].get("CodeSha256") != artifact.code_sha256:
        raise not_what_was_sent(version.arn, answer["Content"], artifact)
    return version
