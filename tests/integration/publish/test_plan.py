"""`publish --dry-run`: the plan, and nothing done."""

from __future__ import annotations

import json

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import ACCOUNT, FakeAws


def test_a_dry_run_tells_and_sends_nothing(publisher: Publisher, aws: FakeAws) -> None:
    regions = (REGION, "us-east-1")
    name = "small-alpha"
    content = (publisher.build / "layers" / f"{name}.zip").read_bytes()
    manifest = json.loads((publisher.build / "manifest.json").read_text())
    aws.client("lambda").publish_layer_version(
        LayerName=name,
        Content={"ZipFile": content},
        CompatibleRuntimes=[manifest["runtime"]],
        CompatibleArchitectures=["x86_64"],
    )
    ended = publisher.publish("--dry-run", "--account", ACCOUNT, regions=regions)
    assert ended.code == 0, ended.errors
    first, second = ended.output.split("us-east-1", 1)
    assert "is there already" in first
    assert "is there already" not in second
    assert second.count("goes in the request") == 3
    assert f"Shared with: account {ACCOUNT}" in first
    assert "Note: permissions cannot be seen beforehand" in first
    sizes = sum(one["zipped_bytes"] for one in manifest["layers"])
    assert f"To send: {(2 * sizes - len(content)) / 1e6:.1f} MB." in ended.output
    assert all(one.method == "GET" or one.service == "sts" for one in aws.asked)
    assert not (publisher.build / "publish.json").exists()


def test_a_dry_run_as_json(publisher: Publisher, aws: FakeAws) -> None:
    aws.add("GET", "/layers/", region="us-east-1", times=9, status=403, code="AccessDenied")
    regions = (REGION, "us-east-1")
    ended = publisher.publish("--dry-run", "--format", "json", regions=regions)
    assert ended.code == 8
    plan = json.loads(ended.output)
    assert plan["kind"] == "publish-plan"
    good, bad = plan["regions"]
    assert (good["region"], good["error"], good["function"]) == (REGION, None, None)
    assert {one["way"] for one in good["layers"]} == {"direct"}
    assert good["bytes_to_send"] == sum(one["zipped_bytes"] for one in good["layers"])
    assert "AWS does not allow it" in bad["error"]


def test_a_dry_run_of_what_is_there(publisher: Publisher) -> None:
    assert publisher.publish().code == 0
    ended = publisher.publish("--dry-run")
    assert ended.output.count("is there already") == 3
    assert "There is nothing to send." in ended.output
