"""What is told before anything is sent: credentials, regions, limits, permissions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import SECRET, FakeAws
from tests.support.command import COMMAND, environment

PUBLISHED = r"/layers/[^/]+/versions$"

pytestmark = pytest.mark.exhaustive


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
        (("--region", REGION, "--account", "12"), {}, "'12' is not an account ID"),
        (("--region", REGION, "--organization", "x"), {}, "'x' is not an organization's ID"),
        (("--region", REGION, "--alias", "live"), {}, "are for a function"),
        (("--region", REGION, "--function", "a b"), {}, "'a b' is not a function's name"),
        (("--region", REGION, "--function", "f", "--role", "r"), {}, "'r' is not a role's ARN"),
        (("--region", REGION, "--public"), {}, "--public asks first"),
        (("--region", "EU-WEST-1"), {}, "Did you mean eu-west-1?"),
        (("--region", REGION, "--function", ""), {}, "--function is empty"),
        (("--region", REGION, "--profile", ""), {}, "--profile is empty"),
        ((), {"AWS_DEFAULT_REGION": "eu-wst-1"}, "'eu-wst-1' (from the AWS configuration)"),
        (("--region", REGION), {"AWS_PROFILE": "workk"}, "Did you mean work?"),
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


@pytest.mark.parametrize("url", ["localhost", "::", "ftp://x", "http://127.0.0.1:99999"])
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
    assert "publish.json is not a receipt" in ended.errors


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


def test_the_function_s_code_needs_room_too(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish().code == 0
    aws.room = [1_000, 999]
    role = "arn:aws:iam::123456789012:role/inference"
    ended = publisher.publish("--function", "answers", "--role", role)
    assert ended.code == 8
    assert "the account has room for 1 B of code" in ended.errors


def change_manifest(publisher: Publisher, change: Callable[[Any], None]) -> None:
    """Change the build's manifest."""
    path = publisher.build / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_name_that_is_too_long_with_its_arn(publisher: Publisher, aws: FakeAws) -> None:
    def change(manifest: Any) -> None:
        manifest["layers"][0]["name"] = "a" * 100

    change_manifest(publisher, change)
    ended = publisher.publish()
    assert ended.code == 3
    assert "characters, and Lambda allows 140" in ended.errors
    assert sent(aws) == 0


def test_a_zip_that_unzips_to_something_else(publisher: Publisher, aws: FakeAws) -> None:
    def change(manifest: Any) -> None:
        manifest["layers"][0]["unzipped_bytes"] += 1

    change_manifest(publisher, change)
    ended = publisher.publish()
    assert ended.code == 2
    assert "unzips to" in ended.errors


def test_a_runtime_that_aws_gave_up_is_told(publisher: Publisher, aws: FakeAws) -> None:
    def change(manifest: Any) -> None:
        manifest["runtime"] = "python3.9"

    change_manifest(publisher, change)
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    assert "AWS deprecated python3.9 on 2025-12-15" in ended.errors


@pytest.mark.parametrize(
    ("config", "variables", "message"),
    [
        ("credential_process = /no/such/program", {}, "the AWS configuration cannot be used"),
        ("credential_process = /bin/echo x", {}, "the AWS configuration cannot be used"),
        (
            "role_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = /no/such",
            {},
            "the AWS configuration cannot be used",
        ),
        (
            "",
            {"AWS_ACCESS_KEY_ID": "AKIA\n", "AWS_SECRET_ACCESS_KEY": "x"},
            "no request can be made",
        ),
    ],
)
def test_odd_configurations(
    publisher: Publisher, config: str, variables: dict[str, str], message: str
) -> None:
    (publisher.folder / "aws-config").write_text(f"[profile odd]\n{config}\n")
    publisher.variables = variables
    extra = {"AWS_CONFIG_FILE": str(publisher.folder / "aws-config")}
    profile = () if variables else ("--profile", "odd")
    ended = publisher.run("list", "--region", REGION, *profile, extra=extra)
    assert ended.code == 8, ended.errors
    assert message in ended.errors
    assert "Traceback" not in ended.errors


def test_a_server_that_is_not_aws(publisher: Publisher, aws: FakeAws) -> None:
    aws.add("POST", "^/$", times=99, status=200, body=b"<!doctype html><title>Log in</title>")
    ended = publisher.publish()
    assert ended.code == 8
    assert "the response is not from AWS" in ended.errors
    assert "Traceback" not in ended.errors


def simulated(decision: str) -> bytes:
    """IAM's answer: the first action is allowed, PublishLayerVersion is as told."""
    return (
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>"
        "<IsTruncated>false</IsTruncated><EvaluationResults><member>"
        "<EvalActionName>lambda:GetLayerVersion</EvalActionName>"
        "<EvalDecision>allowed</EvalDecision></member><member>"
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
    assert "user/ci" in ended.errors
    assert "lambda:PublishLayerVersion on arn:aws:lambda:eu-west-1" in ended.errors
    assert sent(aws) == 0
    simulate("allowed")
    ended = publisher.publish()
    assert ended.code == 0, ended.errors


def test_a_folder_that_cannot_be_written_to_is_told_first(
    publisher: Publisher, aws: FakeAws
) -> None:
    publisher.build.chmod(0o555)
    # Root may write anywhere, unless it gives that right up.
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    where = ("--region", REGION, "--endpoint-url", aws.url)
    ended = subprocess.run(
        [*(without if os.geteuid() == 0 else ()), COMMAND, "publish", "build/small", *where],
        cwd=publisher.folder,
        env=environment(publisher.cache, publisher.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    publisher.build.chmod(0o755)
    assert ended.returncode == 2, ended.stderr
    assert "build/small is not writable" in ended.stderr
    assert aws.asked == []
