"""Snippets for other tools, held against what AWS's own tools make of them."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

from tests.integration.publish.conftest import REGION, Publisher
from tests.support.aws import ACCOUNT, FakeAws
from tests.support.command import Ended

TOOLS = ("sam", "cdk", "terraform", "serverless", "cloudformation")
#: What other syntaxes take for their own, in a variable's value.
ODD = "a ${b} %{c} \"d\" 'e' \\f #g: é"


def export(publisher: Publisher, tool: str, *options: str) -> Ended:
    """Export the build."""
    return publisher.run("export", "build/small", "--to", tool, *options)


@pytest.fixture
def odd(publisher: Publisher) -> Publisher:
    """A build whose function has a variable that is hard to quote."""
    path = publisher.build / "manifest.json"
    manifest = json.loads(path.read_text())
    # A runtime that all the tools know.
    manifest["runtime"] = "python3.12"
    manifest["function"]["environment"] = {"ODD": ODD}
    path.write_text(json.dumps(manifest))
    return publisher


@pytest.fixture(params=["published", "zips"])
def layers(request: pytest.FixtureRequest, odd: Publisher, aws: FakeAws) -> list[str]:
    """The build's layers' ARNs; with `zips` it is not published, and there are none."""
    if request.param == "zips":
        return []
    assert odd.publish().code == 0
    return [one["arn"] for one in odd.receipt[REGION]["layers"].values()]


def lint(path: Path) -> None:
    """AWS's linter of CloudFormation and SAM."""
    command = Path(sysconfig.get_path("scripts")) / "cfn-lint"
    # W: advice on style; a relative path is for `package` to replace (E3002 would be a real one).
    ended = subprocess.run(
        [command, "--non-zero-exit-code", "error", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def packaged(template: dict[str, Any]) -> dict[str, Any]:
    """A template as `aws cloudformation package` leaves it: local files are in a bucket."""
    for resource in template["Resources"].values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::Lambda::Function":
            properties["Code"] = {"S3Bucket": "bucket", "S3Key": properties["Code"]}
        if resource["Type"] == "AWS::Lambda::LayerVersion":
            properties["Content"] = {"S3Bucket": "bucket", "S3Key": properties["Content"]}
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = {"Bucket": "bucket", "Key": properties[key]}
    return template


def test_cloudformation(odd: Publisher, layers: list[str], tmp_path: Path) -> None:
    ended = export(odd, "cloudformation", "-o", "deploy/template.yaml")
    assert ended.code == 0, ended.errors
    template = yaml.safe_load((odd.folder / "deploy/template.yaml").read_text())
    function = template["Resources"]["SmallFunction"]["Properties"]
    assert (odd.folder / "deploy" / function["Code"]).resolve() == odd.build / "function.zip"
    if layers:
        assert sorted(function["Layers"]) == sorted(layers)
    else:
        versions = template["Resources"]["SmallAlphaLayer"]["Properties"]
        path = odd.folder / "deploy" / versions["Content"]
        assert path.resolve() == odd.build / "layers/small-alpha.zip"
        assert {"Ref": "SmallAlphaLayer"} in function["Layers"]
    assert function["Environment"]["Variables"] == {"ODD": ODD}
    (tmp_path / "packaged.json").write_text(json.dumps(packaged(template)))
    lint(tmp_path / "packaged.json")


class _Policies(ManagedPolicyLoader):  # type: ignore[misc]
    """The managed policies that SAM would ask IAM for."""

    def __init__(self) -> None:
        super().__init__(None)

    def load(self) -> dict[str, str]:
        return {}


@pytest.mark.exhaustive
def test_sam(
    odd: Publisher, layers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    ended = export(odd, "sam")
    assert ended.code == 0, ended.errors
    template = yaml.safe_load(ended.output)
    made = transform(packaged(template), {}, _Policies())
    resources = {one["Type"]: one["Properties"] for one in made["Resources"].values()}
    function = resources["AWS::Lambda::Function"]
    assert function["Code"]["S3Key"] == "build/small/function.zip"
    assert function["Environment"]["Variables"] == {"ODD": ODD}
    assert len(function["Layers"]) == 3
    if layers:
        assert sorted(function["Layers"]) == sorted(layers)
    else:
        own = resources["AWS::Lambda::LayerVersion"]
        assert own["Content"]["S3Key"].startswith("build/small/layers/small-")
    (tmp_path / "made.json").write_text(json.dumps(made))
    lint(tmp_path / "made.json")


@pytest.mark.exhaustive
@pytest.mark.parametrize("tool", TOOLS)
def test_a_build_that_changed_since_is_exported_by_its_zips(
    odd: Publisher, aws: FakeAws, tool: str
) -> None:
    assert odd.publish().code == 0
    arn = odd.receipt[REGION]["layers"]["small-alpha"]["arn"]
    assert arn in export(odd, tool).output
    assert arn not in export(odd, tool, "--zips").output
    path = odd.build / "publish.json"
    receipt = json.loads(path.read_text())
    receipt["regions"][REGION]["layers"]["small-alpha"]["sha256"] = "0" * 64
    path.write_text(json.dumps(receipt))
    text = export(odd, tool).output
    assert arn not in text
    assert "small-alpha.zip" in text


def test_which_region(publisher: Publisher, aws: FakeAws) -> None:
    ended = export(publisher, "sam", "--region", REGION)
    assert ended.code == 2
    assert f"is not published in {REGION} (but nowhere)" in ended.errors
    assert publisher.publish(regions=(REGION, "us-east-1")).code == 0
    ended = export(publisher, "sam")
    assert ended.code == 2
    assert "which one is it for?" in ended.errors
    ended = export(publisher, "sam", "--region", "us-east-1")
    assert f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:small-alpha:1" in ended.output
    assert REGION not in ended.output


def test_a_tool_that_is_not_known(publisher: Publisher) -> None:
    assert export(publisher, "pulumi").code == 2
