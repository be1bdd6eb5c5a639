"""What AWS's errors mean to a user."""

from __future__ import annotations

import pytest
from botocore import exceptions as raised
from botocore.exceptions import ClientError

from layerpack.publish.meanings import meaning_of


def refused(code: str, status: int, **headers: str) -> ClientError:
    """An answer of AWS's."""
    answer = {
        "Error": {"Code": code, "Message": "their words"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(answer, "PublishLayerVersion")


@pytest.mark.parametrize(
    ("error", "text", "unanswered", "throttled"),
    [
        (refused("ExpiredTokenException", 403), "have expired", False, False),
        (refused("AccessDeniedException", 403), "does not allow it: their words", False, False),
        (refused("TooManyRequestsException", 429), "takes no more requests", False, True),
        (refused("", 429), "takes no more requests", False, True),
        (refused("ServiceException", 500), "AWS failed (ServiceException)", True, False),
        (refused("", 503), "AWS failed (503)", True, False),
        (refused("RequestEntityTooLargeException", 413), "the request is too large", False, False),
        (refused("ResourceConflictException", 409), "somebody else is changing it", False, False),
        (refused("InvalidParameterValueException", 400), "their words (Invalid", False, False),
        (refused("SignatureDoesNotMatch", 403), "does not accept the request", False, False),
        (raised.NoCredentialsError(), "there are no AWS credentials", False, False),
        (
            raised.EndpointConnectionError(endpoint_url="http://x"),
            "AWS cannot be reached",
            True,
            False,
        ),
        (
            raised.ConnectionClosedError(endpoint_url="http://x"),
            "the connection broke",
            True,
            False,
        ),
        (raised.ReadTimeoutError(endpoint_url="http://x"), "the connection broke", True, False),
        (raised.SSOTokenLoadError(error_msg="gone"), "the SSO session", False, False),
        (
            raised.UnauthorizedSSOTokenError(),
            "the SSO session cannot be used",
            False,
            False,
        ),
        (
            raised.PartialCredentialsError(provider="env", cred_var="x"),
            "are not complete",
            False,
            False,
        ),
    ],
)
def test_meanings(error: Exception, text: str, unanswered: bool, throttled: bool) -> None:
    meaning = meaning_of(error, "work")
    assert text in meaning.text
    assert (meaning.unanswered, meaning.throttled) == (unanswered, throttled)


def test_a_signature_s_refusal_repeats_nothing() -> None:
    assert "their words" not in meaning_of(refused("SignatureDoesNotMatch", 403), "").text


def test_sso_says_how_to_log_in() -> None:
    meaning = meaning_of(raised.UnauthorizedSSOTokenError(), "work")
    assert "aws sso login --profile work" in meaning.hint


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), ("", 0.0), ("soon", 0.0), ("900", 60)])
def test_aws_says_how_long_to_wait(header: str, seconds: float) -> None:
    error = refused("TooManyRequestsException", 429, **{"retry-after": header})
    assert meaning_of(error, "").retry_after == seconds
