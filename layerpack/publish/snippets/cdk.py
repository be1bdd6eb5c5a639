"""A stack of the AWS CDK, in Python.

Format: AWS CDK API reference, aws_cdk.aws_lambda (version 2).
"""

from __future__ import annotations

from layerpack.limits import MEMORY_MB
from layerpack.publish.defaults import TIMEOUT_SECONDS
from layerpack.publish.snippets.deployable import Deployable, SnippetLayer, comment


def cdk(build: Deployable) -> str:
    """An `app.py` with one stack; the CDK sends zips through its own bucket."""
    stack = build.identifier.removesuffix("Function") + "Stack"
    body = "".join(_layer(layer) for layer in build.layers)
    function = build.function
    if function is not None:
        layers = ", ".join(_variable(layer) for layer in build.layers)
        variables = dict(function.environment)
        environment = f"            environment={variables!r},\n" if variables else ""
        body += f"""
        lambda_.Function(
            self,
            {build.identifier!r},
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            handler={function.handler!r},
            code=lambda_.Code.from_asset(str(HERE / {build.function_zip!r})),
            layers=[{layers}],
            memory_size={MEMORY_MB},
            timeout=cdk.Duration.seconds({TIMEOUT_SECONDS}),
{environment}        )
"""
    architecture = {"x86_64": "X86_64", "arm64": "ARM_64"}[build.architecture]
    head = comment([build.origin, 'cdk deploy --app "python3 THIS"'])
    return f"""{head}
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

HERE = Path(__file__).parent
RUNTIME = lambda_.Runtime({build.runtime!r}, lambda_.RuntimeFamily.PYTHON)
ARCHITECTURE = lambda_.Architecture.{architecture}


class {stack}(cdk.Stack):
    def __init__(self, scope: Construct, name: str, **more: object) -> None:
        super().__init__(scope, name, **more)
{body}

app = cdk.App()
{stack}(app, {stack!r})
app.synth()
"""


def _layer(layer: SnippetLayer) -> str:
    if layer.arn:
        return f"""        {_variable(layer)} = lambda_.LayerVersion.from_layer_version_arn(
            self, {layer.identifier!r}, {layer.arn!r}
        )
"""
    return f"""        {_variable(layer)} = lambda_.LayerVersion(
            self,
            {layer.identifier!r},
            layer_version_name={layer.name!r},
            code=lambda_.Code.from_asset(str(HERE / {layer.zip!r})),
            compatible_runtimes=[RUNTIME],
            compatible_architectures=[ARCHITECTURE],
        )
"""


def _variable(layer: SnippetLayer) -> str:
    return layer.identifier[0].lower() + layer.identifier[1:]
