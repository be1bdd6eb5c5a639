"""Snippets, read by the tools that they are for: Terraform's parser, Serverless, the CDK."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.integration.publish.conftest import Publisher
from tests.integration.publish.test_export import ODD, export, layers, odd  # noqa: F401

pytestmark = pytest.mark.tools
#: HashiCorp's own parser of HCL, and the last Serverless that needs no account.
PACKAGES = ("@cdktf/hcl2json@0.21.0", "serverless@3.40.0")
CDK = "aws-cdk-lib==2.275.0"
_PARSE = """\
const {parse} = require("@cdktf/hcl2json");
const text = require("fs").readFileSync(0, "utf8");
parse("main.tf", text).then((value) => console.log(JSON.stringify(value)));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tools that npm brings."""
    folder = tmp_path_factory.mktemp("node")
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES],
        cwd=folder,
        check=True,
        timeout=300,
    )
    return folder


def parsed(text: str, node: Path) -> Any:
    """HCL as JSON."""
    ended = subprocess.run(
        ["node", "-e", _PARSE], cwd=node, input=text, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_terraform(odd: Publisher, layers: list[str], node: Path) -> None:  # noqa: F811
    ended = export(odd, "terraform")
    assert ended.code == 0, ended.errors
    resources = parsed(ended.output, node)["resource"]
    (function,) = resources["aws_lambda_function"]["small"]
    assert function["filename"] == "${path.module}/build/small/function.zip"
    assert function["handler"] == "app.handler"
    # The parser gives templates as templates: what is no interpolation stands there doubled.
    written = ODD.replace("${", "$${").replace("%{", "%%{")
    assert function["environment"][0]["variables"]["ODD"] == written
    if layers:
        assert sorted(function["layers"]) == sorted(layers)
    else:
        (layer,) = resources["aws_lambda_layer_version"]["small-alpha"]
        assert layer["filename"] == "${path.module}/build/small/layers/small-alpha.zip"
        assert "${aws_lambda_layer_version.small-alpha.arn}" in function["layers"]


def test_terraform_sends_large_zips_through_a_bucket(
    odd: Publisher,  # noqa: F811
    node: Path,
) -> None:
    path = odd.build / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["layers"][0]["zipped_bytes"] = 60_000_000
    path.write_text(json.dumps(manifest))
    ended = export(odd, "terraform")
    value = parsed(ended.output, node)
    name = manifest["layers"][0]["name"]
    assert value["variable"]["bucket"]
    assert value["resource"]["aws_s3_object"][name][0]["bucket"] == "${var.bucket}"
    (layer,) = value["resource"]["aws_lambda_layer_version"][name]
    assert layer["s3_key"] == f"${{aws_s3_object.{name}.key}}"


def test_serverless(odd: Publisher, layers: list[str], node: Path) -> None:  # noqa: F811
    path = odd.build / "manifest.json"
    # This version knows none newer.
    path.write_text(path.read_text().replace("python3.12", "python3.11"))
    ended = export(odd, "serverless", "-o", "serverless.yml", *(() if layers else ("--zips",)))
    assert ended.code == 0, ended.errors
    if not layers:
        # To package layers of its own it asks CloudFormation for those that are there.
        service = json.loads(serverless(odd, node, "print", "--format", "json"))
        function = service["functions"]["SmallFunction"]
        assert function["environment"] == {"ODD": ODD}
        refs = [one["Ref"] for one in function["layers"]]
        assert refs == [f"{name}LambdaLayer" for name in service["layers"]]
        assert len(refs) == 3
        for layer in service["layers"].values():
            assert (odd.folder / layer["package"]["artifact"]).is_file()
        return
    serverless(odd, node, "package")
    template = json.loads(
        (odd.folder / ".serverless/cloudformation-template-update-stack.json").read_text()
    )
    function = template["Resources"]["SmallFunctionLambdaFunction"]["Properties"]
    assert function["Handler"] == "app.handler"
    assert function["Environment"]["Variables"] == {"ODD": ODD}
    assert sorted(function["Layers"]) == sorted(layers)


def serverless(publisher: Publisher, node: Path, *arguments: str) -> str:
    """Run the framework on the snippet; what is not valid in it is an error."""
    text = (publisher.folder / "serverless.yml").read_text()
    (publisher.folder / "serverless.yml").write_text(f"configValidationMode: error\n{text}")
    ended = subprocess.run(
        ["node", node / "node_modules/serverless/bin/serverless.js", *arguments],
        cwd=publisher.folder,
        env={**publisher.environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def cdk_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the CDK."""
    folder = tmp_path_factory.mktemp("cdk")
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", CDK], check=True, timeout=300)
    return python


def test_cdk(odd: Publisher, layers: list[str], cdk_python: Path) -> None:  # noqa: F811
    ended = export(odd, "cdk", "-o", "app.py")
    assert ended.code == 0, ended.errors
    made = subprocess.run(
        [cdk_python, "app.py"],
        cwd=odd.folder,
        env={
            **odd.environment,
            "PATH": os.environ["PATH"],
            "CDK_OUTDIR": str(odd.folder / "cdk.out"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    template: dict[str, Any] = json.loads(
        (odd.folder / "cdk.out/SmallStack.template.json").read_text()
    )
    (function,) = (
        one["Properties"]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function"
    )
    assert function["Environment"]["Variables"] == {"ODD": ODD}
    assert function["Runtime"] == "python3.12"
    if layers:
        assert sorted(function["Layers"]) == sorted(layers)
    else:
        assert len(function["Layers"]) == 3
        # The zips themselves were taken as assets, whole.
        assets = json.loads((odd.folder / "cdk.out/SmallStack.assets.json").read_text())["files"]
        names = {one["source"]["path"] for one in assets.values()}
        assert sum(name.endswith(".zip") for name in names) == 4
