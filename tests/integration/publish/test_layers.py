"""Layers to AWS: new, unchanged, changed; throttled, cut off, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from typing import Any

import pytest

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import ACCOUNT, FakeAws

PUBLISHED = r"/layers/[^/]+/versions$"


def test_new_layers_are_published_as_they_were_built(publisher: Publisher, aws: FakeAws) -> None:
    ended = publisher.publish("--format", "json")
    assert ended.code == 0, ended.errors
    (region,) = json.loads(ended.output)["regions"]
    assert (region["region"], region["account"], region["error"]) == (REGION, ACCOUNT, None)
    hashes = publisher.hashes
    del hashes["function"]
    assert len(hashes) == 3
    assert aws.layers() == {name: [digest] for name, digest in hashes.items()}
    for layer in region["layers"]:
        assert layer["state"] == "published"
        assert layer["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{layer['name']}:1"
        assert publisher.receipt[REGION]["layers"][layer["name"]]["arn"] == layer["arn"]
    (version,) = aws.client("lambda").list_layer_versions(LayerName="small-alpha")["LayerVersions"]
    assert version["CompatibleRuntimes"] == [json.loads(_manifest(publisher))["runtime"]]
    assert version["CompatibleArchitectures"] == ["x86_64"]
    assert version["Description"] == "small: alpha 1.0"


def _manifest(publisher: Publisher) -> str:
    return (publisher.build / "manifest.json").read_text()


def test_a_second_run_sends_nothing_and_says_so(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish().code == 0
    aws.asked.clear()
    ended = publisher.publish()
    assert ended.code == 0
    assert "Nothing to do: all of it is there already." in ended.output
    # Whose credentials, and the latest version of each of three layers: no more than that.
    assert len(aws.asked) == 4, list(map(str, aws.asked))
    # Without the receipt each version has to be looked at.
    (publisher.build / "publish.json").unlink()
    aws.asked.clear()
    again = publisher.publish()
    assert "Nothing to do" in again.output
    assert len(aws.asked) == 7
    assert aws.count("POST", PUBLISHED) == 0


@pytest.mark.exhaustive
def test_only_what_changed_is_sent(publisher: Publisher, aws: FakeAws) -> None:
    assert publisher.publish().code == 0
    before = aws.layers()
    (publisher.folder / "weights-0.bin").write_bytes(os.urandom(7_000_000))
    built = publisher.run_without_endpoint("build", "recipe.yaml")
    assert built.code == 0, built.errors
    # The receipt is not the build's, and outlives it.
    assert set(publisher.receipt[REGION]["layers"]) == set(before)
    ended = publisher.publish("--format", "json")
    assert ended.code == 0, ended.errors
    states = {one["name"]: one["state"] for one in json.loads(ended.output)["regions"][0]["layers"]}
    assert states == {
        "small-alpha": "reused",
        "small-beta": "reused",
        "small-weights-0": "published",
    }
    after = aws.layers()
    assert after["small-beta"] == before["small-beta"]
    assert after["small-weights-0"] == [
        *before["small-weights-0"],
        publisher.hashes["small-weights-0"],
    ]


def test_a_version_for_another_runtime_is_not_reused(publisher: Publisher, aws: FakeAws) -> None:
    name = "small-alpha"
    content = (publisher.build / "layers" / f"{name}.zip").read_bytes()
    aws.client("lambda").publish_layer_version(
        LayerName=name, Content={"ZipFile": content}, CompatibleRuntimes=["python3.9"]
    )
    assert publisher.publish().code == 0
    assert aws.layers()[name] == [publisher.hashes[name]] * 2


@pytest.mark.exhaustive
def test_a_receipt_is_not_believed_where_aws_has_another_version(
    publisher: Publisher, aws: FakeAws
) -> None:
    assert publisher.publish().code == 0
    published = aws.layers()
    # As with LocalStack, begun anew: the same ARN for other content, made at another time.
    aws.reset()
    aws.client("lambda").publish_layer_version(
        LayerName="small-alpha",
        Content={"ZipFile": b"other"},
        CompatibleRuntimes=[json.loads(_manifest(publisher))["runtime"]],
        CompatibleArchitectures=["x86_64"],
    )
    assert publisher.publish().code == 0
    assert aws.layers()["small-alpha"][1:] == published["small-alpha"]


@pytest.mark.exhaustive
def test_one_region_that_fails_does_not_stop_the_others(publisher: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", PUBLISHED),
        region="us-east-1",
        times=99,
        status=403,
        code="AccessDeniedException",
        message="User: x is not authorized to perform: lambda:PublishLayerVersion",
    )
    regions = ("eu-west-1", "us-east-1", "ap-southeast-2")
    ended = publisher.publish("--format", "json", regions=regions)
    assert ended.code == 8
    found = {one["region"]: one for one in json.loads(ended.output)["regions"]}
    assert [found[name]["error"] is None for name in regions] == [True, False, True]
    assert "1 of 3 regions failed" in ended.errors
    assert "us-east-1: publishing" in ended.errors
    assert "lambda:PublishLayerVersion" in ended.errors
    assert set(publisher.receipt) == {"eu-west-1", "ap-southeast-2"}
    assert len(aws.layers("ap-southeast-2")) == 3
    assert aws.layers("us-east-1") == {}
    # The next run has only that one to do.
    aws.rules.clear()
    aws.asked.clear()
    assert publisher.publish(regions=regions).code == 0
    assert aws.count("POST", PUBLISHED) == 3
    assert len(aws.layers("us-east-1")) == 3


@pytest.mark.exhaustive
def test_throttling_is_waited_for(publisher: Publisher, aws: FakeAws) -> None:
    refusal: dict[str, Any] = {
        "status": 429,
        "code": "TooManyRequestsException",
        "message": "Rate exceeded",
        "headers": {"Retry-After": "0"},
    }
    aws.add("GET", PUBLISHED.replace("$", ""), times=2, **refusal)
    aws.add("POST", PUBLISHED, times=2, **refusal)
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    assert all(len(versions) == 1 for versions in aws.layers().values())
    assert aws.count("POST", PUBLISHED) == 5


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [True, False])
def test_an_answer_that_never_comes_does_not_publish_twice(
    publisher: Publisher, aws: FakeAws, after: bool
) -> None:
    aws.add("POST", r"/layers/small-alpha/versions", hang_up=True, after=after)
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    hashes = publisher.hashes
    del hashes["function"]
    assert aws.layers() == {name: [digest] for name, digest in hashes.items()}
    assert aws.count("POST", r"/layers/small-alpha/versions") == (1 if after else 2)


@pytest.mark.exhaustive
def test_a_server_that_fails_for_a_while(publisher: Publisher, aws: FakeAws) -> None:
    aws.add("POST", PUBLISHED, times=2, status=500, code="ServiceException", message="oops")
    assert publisher.publish().code == 0
    assert all(len(versions) == 1 for versions in aws.layers().values())


def test_other_bytes_than_were_sent_are_told(publisher: Publisher, aws: FakeAws) -> None:
    def change(answer: dict[str, dict[str, str]]) -> None:
        answer["Content"]["CodeSha256"] = "AAAA"

    aws.add("POST", r"/layers/small-alpha/versions", change=change)
    ended = publisher.publish()
    assert ended.code == 8
    assert "differs from the zip that was sent" in ended.errors
    assert "small-alpha" not in publisher.receipt[REGION]["layers"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_dies_half_way_is_taken_up_again(
    publisher: Publisher, aws: FakeAws, number: int
) -> None:
    held = aws.add("POST", r"/layers/small-weights-0/versions", wait=threading.Event())

    def until_two_are_noted(process: subprocess.Popen[str]) -> None:
        receipt = publisher.build / "publish.json"
        while not receipt.exists() or len(publisher.receipt[REGION]["layers"]) < 2:
            assert process.poll() is None

    ended = publisher.ended_by(
        number,
        held,
        *("publish", "build/small", "--region", REGION),
        meanwhile=until_two_are_noted,
    )
    assert ended.code == {9: -9, 15: 143, 2: 130}[number]
    # What was being sent is carried out, and with time to write so is the receipt.
    done = 2 if number == signal.SIGKILL else 3
    assert len(publisher.receipt[REGION]["layers"]) == done
    aws.asked.clear()
    assert publisher.publish().code == 0
    assert len(publisher.receipt[REGION]["layers"]) == 3
    assert aws.count("POST", PUBLISHED) <= 3 - done
    assert all(len(versions) == 1 for versions in aws.layers().values())


def test_regions_are_published_to_side_by_side(publisher: Publisher, aws: FakeAws) -> None:
    second = aws.add("POST", PUBLISHED, region="us-east-1", change=lambda answer: None)
    # The first region waits for the second one to begin.
    first = aws.add("POST", PUBLISHED, region=REGION, wait=second.begun)
    ended = publisher.publish(regions=(REGION, "us-east-1"))
    assert ended.code == 0, ended.errors
    assert first.waited


def test_a_region_that_is_not_enabled_is_its_own_affair(publisher: Publisher, aws: FakeAws) -> None:
    told = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"
    aws.add("POST", "^/$", region="me-south-1", times=9, status=403, body=told)
    aws.add(
        *("GET", "/layers/"),
        region="me-south-1",
        times=99,
        status=403,
        code="UnrecognizedClientException",
        message="The security token included in the request is invalid.",
    )
    ended = publisher.publish(regions=("me-south-1", REGION))
    assert ended.code == 8
    assert "1 of 2 regions failed" in ended.errors
    assert "that the account has this region enabled" in ended.errors
    assert len(aws.layers()) == 3


@pytest.mark.exhaustive
def test_a_version_that_shows_late_is_waited_for(publisher: Publisher, aws: FakeAws) -> None:
    aws.add("POST", r"/layers/small-alpha/versions", hang_up=True, after=True)

    def hide(answer: dict[str, Any]) -> None:
        answer["LayerVersions"] = []

    rule = aws.add("GET", r"/layers/small-alpha/versions", times=2, change=hide)
    matches = rule.matches
    sent = r"/layers/small-alpha/versions"
    rule.matches = lambda asked: matches(asked) and aws.count("POST", sent) > 0
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    assert len(aws.layers()["small-alpha"]) == 1


def test_a_build_that_came_without_its_hidden_files(publisher: Publisher, aws: FakeAws) -> None:
    # As artifacts of CI systems do.
    (publisher.build / ".state.json").unlink()
    assert publisher.publish().code == 0
    assert len(aws.layers()) == 3


@pytest.mark.exhaustive
def test_what_was_published_is_told_where_the_run_is_ended(
    publisher: Publisher, aws: FakeAws
) -> None:
    gate = threading.Event()
    held = aws.add("POST", PUBLISHED, region="us-east-1", times=3, wait=gate)

    def until_the_first_region_is_done(process: subprocess.Popen[str]) -> None:
        while len(aws.layers()) < 3:
            assert process.poll() is None

    ended = publisher.ended_by(
        signal.SIGTERM,
        held,
        *("publish", "build/small", "--region", REGION, "--region", "us-east-1"),
        meanwhile=until_the_first_region_is_done,
    )
    assert f"{REGION}: 3 layers were published" in ended.errors
    assert "us-east-1: 3 layers were published" in ended.errors
