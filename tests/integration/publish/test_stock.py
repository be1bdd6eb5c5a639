"""Sharing layers, listing them, deleting old ones."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import pytest

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import ROLE, FakeAws

pytestmark = pytest.mark.exhaustive

ORGANIZATION = "o-a1b2c3d4e5"


def statements(aws: FakeAws, layer: str, version: int = 1) -> list[dict[str, Any]]:
    """Who may use a layer version, in moto."""
    client = aws.client("lambda")
    policy = client.get_layer_version_policy(LayerName=layer, VersionNumber=version)["Policy"]
    found: list[dict[str, Any]] = json.loads(policy)["Statement"]
    return found


def test_layers_are_private_unless_shared(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish().code == 0
    client = aws.client("lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_layer_version_policy(LayerName="small-alpha", VersionNumber=1)
    assert aws.count("POST", "/policy") == 0


def test_layers_are_shared_once(publisher: Publisher, aws: FakeAws) -> None:
    ended = publisher.publish("--account", "210987654321", "--organization", ORGANIZATION)
    assert ended.code == 0, ended.errors
    asked = [one.json for one in aws.asked if one.path.endswith("/policy") and one.body]
    assert len(asked) == 6
    assert {one["Action"] for one in asked} == {"lambda:GetLayerVersion"}
    assert {(one["Principal"], one.get("OrganizationId")) for one in asked} == {
        ("210987654321", None),
        ("*", ORGANIZATION),
    }
    identifiers = {one["Sid"] for one in statements(aws, "small-alpha")}
    assert identifiers == {
        "layerpack-account-210987654321",
        f"layerpack-organization-{ORGANIZATION}",
    }
    aws.asked.clear()
    ended = publisher.publish("--account", "210987654321")
    assert ended.code == 0
    assert "Nothing to do" in ended.output
    assert aws.count("POST", "/policy") == 0


def test_everybody_takes_a_yes(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish("--public").code == 2
    assert aws.layers() == {}
    ended = publisher.publish("--public", "--yes")
    assert ended.code == 0, ended.errors
    (statement,) = statements(aws, "small-alpha")
    assert statement["Sid"] == "layerpack-public"


def test_sharing_that_is_refused_does_not_publish_again(publisher: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", "/layers/small-beta/versions/1/policy"),
        status=403,
        code="AccessDeniedException",
        message="not authorized to perform: lambda:AddLayerVersionPermission",
    )
    ended = publisher.publish("--account", "210987654321")
    assert ended.code == 8
    assert "lambda:AddLayerVersionPermission" in ended.errors
    assert publisher.publish("--account", "210987654321").code == 0
    assert all(len(versions) == 1 for versions in aws.layers().values())
    assert len(statements(aws, "small-beta")) == 1


def publish_versions(aws: FakeAws, layer: str, count: int, region: str = REGION) -> list[str]:
    """Versions of a layer, past layerpack."""
    client = aws.client("lambda", region)
    return [
        client.publish_layer_version(LayerName=layer, Content={"ZipFile": f"{n}".encode()})[
            "LayerVersionArn"
        ]
        for n in range(count)
    ]


def use(aws: FakeAws, name: str, arns: list[str]) -> None:
    """A function with layers."""
    aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=ROLE,
        Handler="a.b",
        Code={"ZipFile": b"code"},
        Layers=arns,
    )


@pytest.fixture
def stocked(publisher: Publisher, aws: FakeAws) -> Publisher:
    """Five versions of one layer, the last one this build's; the first and the third are used."""
    policy = json.dumps({"Statement": []})
    aws.client("iam").create_role(RoleName="inference", AssumeRolePolicyDocument=policy)
    arns = publish_versions(aws, "small-alpha", 4)
    publish_versions(aws, "somebody-else", 4)
    assert publisher.publish().code == 0
    use(aws, "first", [arns[0]])
    client = aws.client("lambda")
    use(aws, "third", [arns[2]])
    # Only a published version of this one uses it.
    client.publish_version(FunctionName="third")
    client.update_function_configuration(FunctionName="third", Layers=[])
    return publisher


def test_layers_are_listed_with_who_uses_them(stocked: Publisher) -> None:
    ended = stocked.run("list", "build/small", "--region", REGION, "--format", "json")
    assert ended.code == 0, ended.errors
    (region,) = json.loads(ended.output)["regions"]
    found = {(one["layer"], one["version"]): one["users"] for one in region["versions"]}
    assert found["small-alpha", 1] == ["first"]
    assert found["small-alpha", 3] == ["third:1"]
    assert found["small-alpha", 5] == []
    assert {layer for layer, _ in found} == {"small-alpha", "small-beta", "small-weights-0"}
    everything = stocked.run("list", "--region", REGION)
    assert "somebody-else" in everything.output
    one = stocked.run("list", "--layer", "somebody-else", "--region", REGION)
    assert "small" not in one.output
    none = stocked.run("list", "--layer", "nothing", "--region", REGION)
    assert (none.code, "No versions." in none.output) == (0, True)


def test_pruning_shows_first_and_deletes_what_nobody_uses(stocked: Publisher, aws: FakeAws) -> None:
    arguments = ("prune", "build/small", "--keep", "1", "--region", REGION)
    shown = stocked.run(*arguments, "--dry-run", "--format", "json")
    assert shown.code == 0, shown.errors
    (region,) = json.loads(shown.output)["regions"]
    going = [(o["layer"], o["version"]) for o in region["versions"] if o["state"] == "goes"]
    assert going == [("small-alpha", 4), ("small-alpha", 2)]
    # Nobody can be asked here.
    asked = stocked.run(*arguments)
    assert asked.code == 2
    assert "goes" in asked.errors
    assert asked.output == ""
    assert len(aws.layers()["small-alpha"]) == 5
    ended = stocked.run(*arguments, "--yes")
    assert ended.code == 0, ended.errors
    assert "deleted" in ended.output
    versions = aws.client("lambda").list_layer_versions(LayerName="small-alpha")["LayerVersions"]
    assert sorted(one["Version"] for one in versions) == [1, 3, 5]
    assert len(aws.layers()["somebody-else"]) == 4
    again = stocked.run(*arguments, "--yes")
    assert "Nothing to delete." in again.output
    # What is published stays known.
    aws.asked.clear()
    assert "Nothing to do" in stocked.publish().output


def test_what_a_function_began_to_use_meanwhile_stays(stocked: Publisher, aws: FakeAws) -> None:
    arn = f"arn:aws:lambda:{REGION}:123456789012:layer:small-alpha:2"

    def begin(answer: dict[str, Any]) -> None:
        answer["Functions"].append(
            {"FunctionName": "new", "Version": "$LATEST", "Layers": [{"Arn": arn}]}
        )

    # The second time functions are listed.
    aws.add("GET", "/functions", change=lambda answer: None)
    aws.add("GET", "/functions", change=begin)
    arguments = ("prune", "build/small", "--keep", "1", "--region", REGION, "--yes")
    assert stocked.run(*arguments).code == 0
    versions = aws.client("lambda").list_layer_versions(LayerName="small-alpha")["LayerVersions"]
    assert sorted(one["Version"] for one in versions) == [1, 2, 3, 5]


def test_pruning_where_one_region_fails(stocked: Publisher, aws: FakeAws) -> None:
    publish_versions(aws, "small-alpha", 3, "us-east-1")
    aws.add(
        *("DELETE", "/layers/"),
        region=REGION,
        times=9,
        status=403,
        code="AccessDeniedException",
        message="not authorized to perform: lambda:DeleteLayerVersion",
    )
    where = ("--region", REGION, "--region", "us-east-1")
    ended = stocked.run("prune", "build/small", "--keep", "1", "--yes", *where)
    assert ended.code == 8
    assert f"{REGION}: deleting small-alpha:4" in ended.errors
    assert len(aws.layers("us-east-1")["small-alpha"]) == 1
    assert len(aws.layers()["small-alpha"]) == 5


@pytest.mark.parametrize(
    "arguments", [(), ("build/small", "--layer", "small-alpha"), ("build/small", "--keep", "0")]
)
def test_mistakes_are_told(publisher: Publisher, arguments: tuple[str, ...]) -> None:
    ended = publisher.run("prune", *arguments, "--region", REGION)
    assert ended.code == 2
    assert "Traceback" not in ended.errors


def test_ctrl_c_ends_pruning_and_tells(stocked: Publisher, aws: FakeAws) -> None:
    held = aws.add("DELETE", "/layers/small-alpha/versions/4", wait=threading.Event())
    arguments = ("prune", "build/small", "--keep", "1", "--yes", "--region", REGION)
    ended = stocked.ended_by(signal.SIGINT, held, *arguments)
    assert ended.code == 130
    deleted = f"deleted arn:aws:lambda:{REGION}:123456789012:layer:small-alpha:4"
    assert f"{REGION}: {deleted}" in ended.errors
    versions = aws.client("lambda").list_layer_versions(LayerName="small-alpha")["LayerVersions"]
    assert sorted(one["Version"] for one in versions) == [1, 2, 3, 5]


def test_what_is_deleted_is_struck_out_of_the_receipt(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish().code == 0
    publish_versions(aws, "small-alpha", 1)
    # The regions are those of the receipt.
    ended = publisher.run("prune", "build/small", "--keep", "1", "--yes")
    assert ended.code == 0, ended.errors
    assert "small-alpha" not in publisher.receipt[REGION]["layers"]
    assert "small-beta" in publisher.receipt[REGION]["layers"]


def test_a_permission_that_is_there_by_now_is_no_error(publisher: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", "/layers/small-beta/versions/1/policy"),
        status=409,
        code="ResourceConflictException",
        message="The statement id (layerpack-account-210987654321) provided already exists.",
    )
    assert publisher.publish("--account", "210987654321").code == 0


@pytest.mark.parametrize(
    ("names", "code", "message"),
    [
        (("nothing",), 0, "no versions of nothing in eu-west-1"),
        (("a b",), 2, "'a b' is not a layer's name"),
        (("",), 2, "'' is not a layer's name"),
    ],
)
def test_layers_that_are_not_there(
    publisher: Publisher, names: tuple[str, ...], code: int, message: str
) -> None:
    words = [word for name in names for word in ("--layer", name)]
    ended = publisher.run("list", *words, "--region", REGION)
    assert ended.code == code
    assert message in ended.errors
