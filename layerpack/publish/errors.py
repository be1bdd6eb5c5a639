"""What can go wrong with AWS, as errors that say whether to try again."""

from __future__ import annotations

from layerpack.errors import PublishError
from layerpack.publish.meanings import Meaning


class AwsError(PublishError):
    """AWS refused something, or did not answer; `code` is AWS's own name for it (or empty)."""

    def __init__(self, message: str, hint: str, *, meaning: Meaning) -> None:
        super().__init__(message, hint)
        self.code = meaning.code
        self.status = meaning.status
        #: The connection broke, or the service failed: it may have been done all the same.
        self.unanswered = meaning.unanswered
        #: Too many requests; it was not done.
        self.throttled = meaning.throttled
        self.retry_after = meaning.retry_after
