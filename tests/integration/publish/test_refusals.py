"""What is told before anything is sent: credentials, regions, limits, permissions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import SECRET, FakeAws

PUBLISHED = r"/layers/[^/]+/versions$"


def sent(aws: FakeAws) -> int:
    """How many layers came."""
    return aws.count("POST", PUBLISHED)


def test_no_credentials(publisher: Publisher, aws: FakeAws) -> None:
    publisher.variables.clear()
    ended = publisher.publish()
    assert ended.code == 8
    assert "there are no AWS credentials" in ended.errors
    assert "--profile" in ended.errors
    assert aws.asked == []


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "ExpiredToken", "the AWS credentials have expired"),
        (403, "InvalidClientTokenId", "AWS does not know these credentials"),
        (403, "SignatureDoesNotMatch", "AWS does not accept the request's signature"),
    ],
)
def test_credentials_that_aws_does_not_take(
    publisher: Publisher, aws: FakeAws, status: int, code: str, message: str
) -> None:
    # AWS repeats the request in the last one's message, the token with it.
    told = f"The canonical request was x-amz-security-token:{SECRET['AWS_SESSION_TOKEN']}"
    text = f"<Error><Code>{code}</Code><Message>{told}</Message></Error>"
    body = f"<ErrorResponse>{text}</ErrorResponse>".encode()
    aws.add("POST", "^/$", status=status, code=code, body=body)
    ended = publisher.publish("--verbose")
    assert ended.code == 8
    assert message in ended.errors
    assert "Traceback" not in ended.errors
    assert sent(aws) == 0


def test_credentials_that_expire_half_way(publisher: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", r"/layers/small-beta/versions"),
        times=9,
        status=403,
        code="ExpiredTokenException",
        message="The security token included in the request is expired",
    )
    ended = publisher.publish()
    assert ended.code == 8
    assert "the AWS credentials have expired" in ended.errors
    assert "small-beta" not in publisher.receipt[REGION]["layers"]
    aws.rules.clear()
    assert publisher.publish().code == 0
    assert all(len(versions) == 1 for versions in aws.layers().values())


def test_secrets_stand_nowhere(publisher: Publisher, aws: FakeAws) -> None:
    secrets = list(SECRET.values())
    aws.add(
        *("POST", r"/layers/small-beta/versions"),
        status=400,
        code="InvalidParameterValueException",
        message=f"echo: {' '.join(secrets)}",
    )
    ended = publisher.publish("--verbose")
    assert ended.code == 8
    assert "echo: *** *** ***" in ended.errors
    receipt = (publisher.build / "publish.json").read_text()
    for secret in secrets:
        assert secret not in ended.errors + ended.output + receipt


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("--region", "eu-west-11"), {}, "knows no region 'eu-west-11' with Lambda"),
        (("--region", "eu-west-11"), {}, "Did you mean eu-west-1?"),
        ((), {}, "in which region?"),
        (("--region", REGION, "--profile", "workk"), {}, "has no profile 'workk'"),
        (("--region", REGION, "--profile", "workk"), {}, "Did you mean work?"),
        (("--region", REGION, "--account", "12"), {}, "'12' is not an account's number"),
        (("--region", REGION, "--organization", "x"), {}, "'x' is no organization"),
        (("--region", REGION, "--alias", "live"), {}, "are for a function"),
        (("--region", REGION, "--function", "a b"), {}, "'a b' is not a function's name"),
        (("--region", REGION, "--function", "f", "--role", "r"), {}, "'r' is not a role's ARN"),
        (("--region", REGION, "--public"), {}, "--public asks first"),
    ],
)
def test_mistakes_are_told(
    publisher: Publisher,
    aws: FakeAws,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    message: str,
) -> None:
    config = publisher.folder / "aws-config"
    config.write_text("[profile work]\nregion = eu-west-1\n")
    extra = {"AWS_CONFIG_FILE": str(config), **variables}
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        extra.setdefault(name, "")
    extra = {name: value for name, value in extra.items() if value}
    ended = publisher.run("publish", "build/small", *arguments, extra=extra)
    assert ended.code == 2, ended.errors
    assert message in ended.errors
    assert sent(aws) == 0


def test_the_configuration_s_region_and_profile_hold(publisher: Publisher, aws: FakeAws) -> None:
    home = publisher.folder
    (home / "aws-config").write_text("[profile work]\nregion = us-west-2\n")
    (home / "aws-credentials").write_text(
        "[work]\naws_access_key_id = AKIAEXAMPLEKEY000002\naws_secret_access_key = other\n"
    )
    publisher.variables.clear()
    files = {
        "AWS_CONFIG_FILE": str(home / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "aws-credentials"),
    }
    ended = publisher.run("publish", "build/small", "--profile", "work", extra=files)
    assert ended.code == 0, ended.errors
    assert len(aws.layers("us-west-2")) == 3


def test_aws_that_cannot_be_reached(publisher: Publisher) -> None:
    publisher.url = "http://127.0.0.1:9"
    ended = publisher.publish()
    assert ended.code == 8
    assert "AWS cannot be reached" in ended.errors


@pytest.mark.parametrize("url", ["localhost", "::", "ftp://x"])
def test_an_endpoint_that_is_none(publisher: Publisher, url: str) -> None:
    publisher.url = url
    ended = publisher.publish()
    assert ended.code in (2, 8)
    assert "Traceback" not in ended.errors


def test_a_build_over_a_limit(publisher: Publisher, aws: FakeAws) -> None:
    path = publisher.build / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["totals"]["unzipped_bytes"] = 262_144_000
    path.write_text(json.dumps(manifest))
    ended = publisher.publish()
    assert ended.code == 3
    assert "Lambda would refuse it" in ended.errors
    assert aws.asked == []


def test_a_zip_that_is_not_as_it_was_built(publisher: Publisher, aws: FakeAws) -> None:
    path = publisher.build / "layers/small-alpha.zip"
    path.write_bytes(path.read_bytes()[:-1])
    ended = publisher.publish()
    assert ended.code == 2
    assert "small-alpha.zip is not as it was built" in ended.errors
    assert aws.asked == []


def test_a_receipt_that_is_damaged(publisher: Publisher) -> None:
    (publisher.build / "publish.json").write_text("{")
    ended = publisher.publish()
    assert ended.code == 2
    assert "publish.json cannot be used" in ended.errors


def test_nothing_to_publish(publisher: Publisher, tmp_path: Path) -> None:
    ended = publisher.run("publish", str(tmp_path), "--region", REGION)
    assert ended.code == 2
    assert "Is" in ended.errors
    assert "a build folder?" in ended.errors


def test_an_account_without_room(publisher: Publisher, aws: FakeAws) -> None:
    aws.room = [75_000_000, 70_000_000]
    ended = publisher.publish()
    assert ended.code == 8
    assert "the account has room for 5.0 MB of code in eu-west-1" in ended.errors
    assert sent(aws) == 0


def simulated(decision: str) -> bytes:
    """IAM's answer for PublishLayerVersion."""
    return (
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>"
        "<IsTruncated>false</IsTruncated><EvaluationResults><member>"
        "<EvalActionName>lambda:PublishLayerVersion</EvalActionName>"
        f"<EvalDecision>{decision}</EvalDecision>"
        "</member></EvaluationResults></SimulatePrincipalPolicyResult>"
        "</SimulatePrincipalPolicyResponse>"
    ).encode()


def test_permissions_are_asked_for_beforehand(publisher: Publisher, aws: FakeAws) -> None:
    client = aws.client("iam")
    client.create_user(UserName="ci")
    key = client.create_access_key(UserName="ci")["AccessKey"]
    publisher.variables = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }

    def simulate(decision: str) -> None:
        aws.rules.clear()
        rule = aws.add("POST", "^/$", times=99, status=200, body=simulated(decision))
        rule.matches = lambda asked: b"SimulatePrincipalPolicy" in asked.body

    simulate("implicitDeny")
    ended = publisher.publish()
    assert ended.code == 8
    assert "user/ci may not do what publishing takes" in ended.errors
    assert "lambda:PublishLayerVersion on arn:aws:lambda:eu-west-1" in ended.errors
    assert sent(aws) == 0
    simulate("allowed")
    ended = publisher.publish()
    assert ended.code == 0, ended.errors


def test_a_read_only_folder_is_told(publisher: Publisher) -> None:
    if os.geteuid() == 0:
        # Nothing is read-only for root: a folder in the receipt's place does as well.
        (publisher.build / "publish.json").mkdir()
    else:
        publisher.build.chmod(0o555)
    ended = publisher.publish()
    assert ended.code in (2, 6)
    assert "Traceback" not in ended.errors
    publisher.build.chmod(0o755)
