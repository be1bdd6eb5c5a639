"""What AWS's errors mean to a user. Pure: nothing is asked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore import exceptions as raised
from botocore.exceptions import ClientError

_LOG_IN: Final = (
    "Name a profile (--profile), log in (aws sso login), or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY. `layerpack doctor` shows what is there."
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN: Final = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure"}
)
# AWS repeats the whole request in this one's text, the session's token among it.
_SIGNATURE: Final = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"}
)
_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}
)
_THROTTLED: Final = frozenset(
    {
        *("TooManyRequestsException", "ThrottlingException", "Throttling", "SlowDown"),
        *("RequestLimitExceeded", "ThrottledException", "RequestThrottled", "429"),
    }
)
_BUSY: Final = frozenset({"PreconditionFailedException", "ResourceConflictException"})
_NO_TOKEN: Final = (
    raised.SSOError,
    raised.TokenRetrievalError,
    raised.UnauthorizedSSOTokenError,
    raised.SSOTokenLoadError,
)
_UNREACHED: Final = (
    raised.EndpointConnectionError,
    raised.ConnectTimeoutError,
    raised.ProxyConnectionError,
    raised.SSLError,
)
# All of those before are among these.
_MOMENTARY: Final = (raised.HTTPClientError, raised.ConnectionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """An error for people: what happened, as the end of a sentence, and what to do.

    `code` and `status` are AWS's (empty and 0 where it did not answer); `unanswered`: it may have
    been done; `throttled`: too many requests, it was not; `retry_after`: seconds that AWS asks for.
    """

    text: str
    hint: str
    code: str = ""
    status: int = 0
    unanswered: bool = False
    throttled: bool = False
    retry_after: float = 0.0


def meaning_of(error: BaseException, profile: str) -> Meaning:
    """What an error of botocore means; `profile` is the one that was asked for, or empty."""
    if isinstance(error, ClientError):
        return _refused(error, profile)
    text, hint = _failed(error, f"aws sso login{f' --profile {profile}' if profile else ''}")
    return Meaning(text=text, hint=hint, unanswered=isinstance(error, _MOMENTARY))


def _failed(error: BaseException, log_in: str) -> tuple[str, str]:
    """What went wrong before AWS answered, and what to do."""
    known: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
        (raised.NoCredentialsError, "there are no AWS credentials", _LOG_IN),
        (raised.PartialCredentialsError, f"the AWS credentials are not complete: {error}", _LOG_IN),
        (_NO_TOKEN, f"the SSO session cannot be used: {error}", f"Log in: {log_in}"),
        (
            (raised.CredentialRetrievalError, raised.MetadataRetrievalError),
            f"the AWS credentials cannot be had: {error}",
            _LOG_IN,
        ),
        (
            (raised.ProfileNotFound, raised.ConfigParseError),
            f"the AWS configuration is not valid: {error}",
            "Mend it.",
        ),
        (
            _UNREACHED,
            f"AWS cannot be reached: {error}",
            "Check the network, a proxy (HTTPS_PROXY) and --endpoint-url.",
        ),
        (_MOMENTARY, f"the connection broke: {error}", "Publish again."),
    )
    found = ((text, hint) for kinds, text, hint in known if isinstance(error, kinds))
    return next(found, (str(error), ""))


def _refused(error: ClientError, profile: str) -> Meaning:
    told = error.response.get("Error", {})
    answer = error.response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(answer.get("HTTPStatusCode") or 0)
    text, hint = _words(code, status, str(told.get("Message", "")).strip(), profile)
    return Meaning(
        text=text,
        hint=hint,
        code=code,
        status=status,
        unanswered=status >= 500,
        throttled=code in _THROTTLED or status == 429,
        retry_after=_seconds(answer.get("HTTPHeaders", {}).get("retry-after")),
    )


def _words(code: str, status: int, message: str, profile: str) -> tuple[str, str]:
    """What AWS refused, and what to do."""
    sso = f"aws sso login{f' --profile {profile}' if profile else ''}"
    known = (
        (
            code in _EXPIRED,
            "the AWS credentials have expired",
            f"Get new ones ({sso}), and publish again.",
        ),
        (
            code in _UNKNOWN,
            f"AWS does not know these credentials ({code})",
            "Check the profile and the keys, and that the account has this region enabled.",
        ),
        (
            code in _SIGNATURE,
            f"AWS does not accept the request's signature ({code})",
            "Check the secret key, and this machine's clock.",
        ),
        (
            code in _DENIED,
            f"AWS does not allow it: {message or code}",
            "Let the role or user do it (IAM), or use another one: --profile.",
        ),
        (
            code in _THROTTLED or status == 429,
            f"AWS takes no more requests for now: {message or code}",
            "Other tools may be using the account up. Publish again later: what is there already "
            "is not sent again.",
        ),
        (
            status == 413,
            f"the zip is too large for one request: {message or code}",
            "Build with layers.direct-upload on, or report it: it was within the limit.",
        ),
        (
            code == "CodeStorageExceededException",
            f"the account has no room left for code: {message}",
            "Delete old versions (`layerpack prune`), or have the quota raised.",
        ),
        (
            code in _BUSY,
            f"somebody else is changing it: {message}",
            "Publish again when they are done.",
        ),
        (status >= 500, f"AWS failed ({code or status}): {message}", "Publish again."),
    )
    found = ((text, hint) for holds, text, hint in known if holds)
    return next(found, (f"{message or 'AWS refused it'} ({code or status})", ""))


def _seconds(value: object) -> float:
    try:
        return min(60.0, max(0.0, float(str(value))))
    except ValueError:
        return 0.0
