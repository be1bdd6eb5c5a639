"""What a layer's policy already allows."""

from __future__ import annotations

from typing import Any

import pytest

from layerpack.errors import UsageError
from layerpack.publish.share import _key, shares_of

ALLOW = {"Effect": "Allow", "Action": "lambda:GetLayerVersion"}


@pytest.mark.parametrize(
    ("statement", "key"),
    [
        ({"Principal": "*"}, ("*", "")),
        ({"Principal": {"AWS": "*"}}, ("*", "")),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, ("123456789012", "")),
        ({"Principal": "123456789012"}, ("123456789012", "")),
        (
            {
                "Principal": "*",
                "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}},
            },
            ("*", "o-a1b2c3d4e5"),
        ),
        ({"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, ("", "")),
        ({"Principal": "*", "Effect": "Deny"}, ("", "")),
        ({"Principal": "*", "OrganizationId": "o-a1b2c3d4e5"}, ("", "")),
    ],
)
def test_who_is_allowed(statement: dict[str, Any], key: tuple[str, str]) -> None:
    assert _key({**ALLOW, **statement}) == key


def test_shares_are_told() -> None:
    found = shares_of(["123456789012", "123456789012"], ["o-a1b2c3d4e5"], True)
    assert [str(one) for one in found] == [
        "account 123456789012",
        "organization o-a1b2c3d4e5",
        "everybody",
    ]
    with pytest.raises(UsageError, match="twelve digits"):
        shares_of(["1234"], [], False)
