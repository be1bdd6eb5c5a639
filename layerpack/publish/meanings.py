"""What AWS's errors mean to a user. Pure: nothing is asked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore import exceptions as raised
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

_LONGEST: Final = 400
_LOG_IN: Final = (
    "Name a profile (--profile), log in (aws sso login), or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY. `layerpack doctor` shows what is there."
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
#: What AWS says of credentials that it does not know, or does not know in a region.
UNKNOWN_CREDENTIALS: Final = frozenset(
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
_UNHANDLED: Final = "An HTTP Client raised an unhandled exception:"
_ODD: Final = (ResponseParserError,)
# An OSError of a file or a program that the configuration names; botocore's are none.
_CONFIGURATION: Final = (OSError, ValueError, raised.InvalidRegionError)
# (_UNREACHED are among these, so they are asked for first.)
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
            f"the AWS credentials cannot be loaded: {error}",
            _LOG_IN,
        ),
        (
            (raised.ProfileNotFound, raised.ConfigParseError),
            f"the AWS configuration is not valid: {error}",
            "Fix the configuration file at that place.",
        ),
        (
            _UNREACHED,
            f"AWS cannot be reached: {error}",
            "Check the network, a proxy (HTTPS_PROXY), the certificates (AWS_CA_BUNDLE) and "
            "--endpoint-url.",
        ),
        (_MOMENTARY, f"the connection broke: {error}", "Publish again."),
        (
            _ODD,
            f"the response is not from AWS: {_short(str(error))}",
            "Check --endpoint-url, AWS_ENDPOINT_URL, and any proxy or portal in between.",
        ),
        (
            _CONFIGURATION,
            f"the AWS configuration cannot be used: {_short(str(error))}",
            "Look at the profile, its files and programs, and at AWS's variables.",
        ),
    )
    if type(error) is raised.HTTPClientError:
        # What no request can be made of: a line break in a key, a proxy that is no address.
        reason = _short(str(error).removeprefix(_UNHANDLED))
        return f"no request can be made: {reason}", (
            "Check the credentials for odd characters, the proxies (HTTP_PROXY, HTTPS_PROXY) and "
            "--endpoint-url."
        )
    found = ((text, hint) for kinds, text, hint in known if isinstance(error, kinds))
    return next(found, (str(error), ""))


def _refused(error: ClientError, profile: str) -> Meaning:
    told = error.response.get("Error", {})
    answer = error.response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(answer.get("HTTPStatusCode") or 0)
    text, hint = _words(code, status, _short(str(told.get("Message", ""))), profile)
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
            code in UNKNOWN_CREDENTIALS,
            f"AWS does not know these credentials ({code})",
            "Check the profile and the keys, and that the account has this region enabled.",
        ),
        (
            code in _SIGNATURE,
            f"AWS does not accept the request's signature ({code})",
            "Check the secret key and this machine's clock. A request must arrive within five "
            "minutes: on a slow line, publish fewer regions at once.",
        ),
        (
            code in _DENIED,
            f"AWS does not allow it: {message or code}",
            "Let the role or user do it (IAM), or use another one: --profile.",
        ),
        (
            code in _THROTTLED or status == 429,
            f"AWS takes no more requests for now: {message or code}",
            "Other tools may be using the account's quota. Publish again later: layers that are "
            "already published are not sent again.",
        ),
        (
            status == 413,
            f"the request is too large: {message or code}",
            "A zip of up to 50 MB, and an event of up to 6 MB, should not be. Please report it.",
        ),
        (
            code == "CodeStorageExceededException",
            f"the account has no room left for code: {message}",
            "Delete old versions (`layerpack prune`), or have the quota raised.",
        ),
        (
            code == "ResourceConflictException",
            f"somebody else is changing it: {message}",
            "Publish again when they are done.",
        ),
        (status >= 500, f"AWS failed ({code or status}): {message}", "Publish again."),
    )
    found = ((text, hint) for holds, text, hint in known if holds)
    return next(found, (f"{message or 'AWS refused it'} ({code or status})", ""))


def _short(text: str) -> str:
    """A text of others as one line that is no page."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _seconds(value: object) -> float:
    try:
        return min(60.0, max(0.0, float(str(value))))
    except ValueError:
        return 0.0
