"""A service of the Serverless Framework.

Format: Serverless Framework documentation, 'Serverless.yml Reference' (version 3).
"""

from __future__ import annotations

from typing import Any

import yaml

from layerpack.limits import MEMORY_MB
from layerpack.publish.defaults import TIMEOUT_SECONDS
from layerpack.publish.snippets.deployable import Deployable, comment


def serverless(build: Deployable) -> str:
    """A `serverless.yml`; the framework sends zips through its own bucket."""
    provider = {"name": "aws", "runtime": build.runtime, "architecture": build.architecture}
    if build.region:
        provider["region"] = build.region
    value: dict[str, Any] = {"service": _service(build.name), "provider": provider}
    own = {layer.identifier: layer for layer in build.layers if not layer.arn}
    if own:
        value["layers"] = {
            identifier: {
                "name": layer.name,
                "package": {"artifact": _literal(layer.zip)},
                "compatibleRuntimes": [build.runtime],
                "compatibleArchitectures": [build.architecture],
            }
            for identifier, layer in own.items()
        }
    if build.function is not None:
        function: dict[str, Any] = {
            "handler": build.function.handler,
            "memorySize": MEMORY_MB,
            "timeout": TIMEOUT_SECONDS,
            "package": {"artifact": _literal(build.function_zip)},
            "layers": [
                # The framework's own name for a layer of the service, in CloudFormation.
                layer.arn or {"Ref": f"{layer.identifier}LambdaLayer"}
                for layer in build.layers
            ],
        }
        if build.function.environment:
            variables = build.function.environment
            function["environment"] = {k: _literal(v) for k, v in variables.items()}
        value["functions"] = {build.identifier: function}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return comment([build.origin, "serverless deploy"]) + text


def _service(name: str) -> str:
    name = name.replace("_", "-")
    return name if name[0].isalpha() else f"service-{name}"


def _literal(text: str) -> str:
    """A text that is no variable of the framework's."""
    return text.replace("${", "\\${")
