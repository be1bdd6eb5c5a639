"""CloudFormation and SAM templates.

Format: AWS CloudFormation User Guide (AWS::Lambda::Function, AWS::Lambda::LayerVersion); AWS SAM
Developer Guide (AWS::Serverless::Function, AWS::Serverless::LayerVersion).
"""

from __future__ import annotations

from typing import Any

import yaml

from layerpack.limits import MEMORY_MB
from layerpack.publish.defaults import TIMEOUT_SECONDS
from layerpack.publish.snippets.deployable import Deployable, SnippetLayer, comment

_BASIC = "service-role/AWSLambdaBasicExecutionRole"


def cloudformation(build: Deployable) -> str:
    """A template for `aws cloudformation`; zips are sent to a bucket by `package`."""
    resources = _own_layers(build, "AWS::Lambda::LayerVersion", "Content")
    if build.function is not None:
        role = f"{build.identifier}Role"
        resources[role] = _role()
        resources[build.identifier] = {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                **_properties(build),
                "Code": build.function_zip,
                "Role": {"Fn::GetAtt": [role, "Arn"]},
            },
        }
    lines = [
        build.origin,
        "aws cloudformation package --template-file THIS --s3-bucket BUCKET "
        "--output-template-file packaged.yaml",
        "aws cloudformation deploy --template-file packaged.yaml --capabilities CAPABILITY_IAM "
        f"--stack-name {_stack(build)}",
    ]
    return _template(build, resources, lines, {})


def sam(build: Deployable) -> str:
    """A template for `sam deploy`."""
    resources = _own_layers(build, "AWS::Serverless::LayerVersion", "ContentUri")
    if build.function is not None:
        resources[build.identifier] = {
            "Type": "AWS::Serverless::Function",
            "Properties": {**_properties(build), "CodeUri": build.function_zip},
        }
    lines = [
        build.origin,
        f"sam deploy --template THIS --stack-name {_stack(build)} --resolve-s3 "
        "--capabilities CAPABILITY_IAM",
    ]
    return _template(build, resources, lines, {"Transform": "AWS::Serverless-2016-10-31"})


def _own_layers(build: Deployable, kind: str, content: str) -> dict[str, Any]:
    """The layers that are made from zips; `content` is the property that names one."""
    return {
        layer.identifier: {
            "Type": kind,
            "Properties": {
                "LayerName": layer.name,
                content: layer.zip,
                "CompatibleRuntimes": [build.runtime],
                "CompatibleArchitectures": [build.architecture],
            },
        }
        for layer in build.layers
        if not layer.arn
    }


def _properties(build: Deployable) -> dict[str, Any]:
    """What both kinds of functions have."""
    function = build.function
    assert function is not None  # noqa: S101 (the callers ask)
    properties: dict[str, Any] = {
        "Runtime": build.runtime,
        "Handler": function.handler,
        "Architectures": [build.architecture],
        "MemorySize": MEMORY_MB,
        "Timeout": TIMEOUT_SECONDS,
        "Layers": [_layer(layer) for layer in build.layers],
    }
    if function.environment:
        properties["Environment"] = {"Variables": dict(function.environment)}
    return properties


def _layer(layer: SnippetLayer) -> Any:
    return layer.arn or {"Ref": layer.identifier}


def _role() -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            "ManagedPolicyArns": [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::aws:policy/{_BASIC}"}],
        },
    }


def _template(
    build: Deployable, resources: dict[str, Any], lines: list[str], head: dict[str, Any]
) -> str:
    value = {
        "AWSTemplateFormatVersion": "2010-09-09",
        **head,
        "Description": build.description or build.name,
        "Resources": resources,
    }
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return comment(lines) + text


def _stack(build: Deployable) -> str:
    """A stack's name: letters, digits and hyphens, a letter first."""
    name = build.name.replace("_", "-")
    return name if name[0].isalpha() else f"stack-{name}"
