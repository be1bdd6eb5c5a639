"""Terraform's resources of the AWS provider, in HCL, laid out as `terraform fmt` does.

Format: HCL's native syntax (quoted templates); Terraform AWS provider, aws_lambda_function and
aws_lambda_layer_version.
"""

from __future__ import annotations

from collections.abc import Mapping

from layerpack.limits import MEMORY_MB
from layerpack.publish.defaults import TIMEOUT_SECONDS
from layerpack.publish.snippets.deployable import Deployable, SnippetLayer, comment

_BASIC = "policy/service-role/AWSLambdaBasicExecutionRole"
_BUCKET = """variable "bucket" {
  description = "The bucket for zips that are too large for one request"
  type        = string
}
"""


def terraform(build: Deployable) -> str:
    """Resources for a module; zips over 50 MB go through the bucket that a variable names."""
    own = [layer for layer in build.layers if not layer.arn]
    blocks = [comment([build.origin])]
    if build.function_needs_s3 or any(layer.needs_s3 for layer in own):
        blocks.append(_BUCKET)
    for layer in own:
        blocks += _layer(build, layer)
    if build.function is not None:
        blocks += [*_role(build), *_function(build)]
    return "\n".join(blocks)


def _layer(build: Deployable, layer: SnippetLayer) -> list[str]:
    name = _label(layer.name)
    upload, source = _source(name, layer.zip, layer.sha256, layer.needs_s3)
    arguments = {
        "layer_name": _text(layer.name),
        **source,
        "compatible_runtimes": f"[{_text(build.runtime)}]",
        "compatible_architectures": f"[{_text(build.architecture)}]",
    }
    return [*upload, _resource("aws_lambda_layer_version", name, _aligned(arguments))]


def _source(name: str, zip_: str, sha256: str, needs_s3: bool) -> tuple[list[str], dict[str, str]]:
    """An object in the bucket, where it takes one, and the arguments that name the zip."""
    path = f'"${{path.module}}/{_escaped(zip_)}"'
    code_hash = {"source_code_hash": f"filebase64sha256({path})"}
    if not needs_s3:
        return [], {"filename": path, **code_hash}
    arguments = {
        "bucket": "var.bucket",
        "key": _text(f"layerpack/{sha256}.zip"),
        "source": path,
    }
    where = f"aws_s3_object.{name}"
    return [_resource("aws_s3_object", name, _aligned(arguments))], {
        "s3_bucket": f"{where}.bucket",
        "s3_key": f"{where}.key",
        **code_hash,
    }


def _role(build: Deployable) -> list[str]:
    name = _label(build.name)
    role = f"""  name_prefix = {_text(f"{build.name[:30]}-")}

  assume_role_policy = jsonencode({{
    Version = "2012-10-17"
    Statement = [{{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = {{ Service = "lambda.amazonaws.com" }}
    }}]
  }})
"""
    attachment = {
        "role": f"aws_iam_role.{name}.name",
        "policy_arn": f'"arn:${{data.aws_partition.current.partition}}:iam::aws:{_BASIC}"',
    }
    return [
        'data "aws_partition" "current" {}\n',
        _resource("aws_iam_role", name, role),
        _resource("aws_iam_role_policy_attachment", name, _aligned(attachment)),
    ]


def _function(build: Deployable) -> list[str]:
    function = build.function
    assert function is not None  # noqa: S101 (the caller asks)
    name = _label(build.name)
    upload, source = _source(name, build.function_zip, function.sha256, build.function_needs_s3)
    arguments = {
        "function_name": _text(build.name),
        "role": f"aws_iam_role.{name}.arn",
        "runtime": _text(build.runtime),
        "architectures": f"[{_text(build.architecture)}]",
        "handler": _text(function.handler),
        **source,
        "memory_size": str(MEMORY_MB),
        "timeout": str(TIMEOUT_SECONDS),
    }
    layers = [
        _text(one.arn) if one.arn else f"aws_lambda_layer_version.{_label(one.name)}.arn"
        for one in build.layers
    ]
    body = _aligned(arguments)
    body += "\n  layers = [\n" + "".join(f"    {layer},\n" for layer in layers) + "  ]\n"
    if function.environment:
        variables = {name: _text(value) for name, value in function.environment.items()}
        body += f"\n  environment {{\n    variables = {{\n{_aligned(variables, 6)}    }}\n  }}\n"
    return [*upload, _resource("aws_lambda_function", name, body)]


def _resource(kind: str, name: str, body: str) -> str:
    return f'resource "{kind}" "{name}" {{\n{body}}}\n'


def _aligned(arguments: Mapping[str, str], indent: int = 2) -> str:
    width = max(map(len, arguments))
    return "".join(f"{' ' * indent}{k:<{width}} = {v}\n" for k, v in arguments.items())


def _label(name: str) -> str:
    """A resource's name: letters, digits, hyphens and underscores, no digit first."""
    return name if not name[0].isdigit() and name[0] != "-" else f"_{name}"


def _text(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    r"""In a quoted template: `\`, `"`, line ends, and what would begin an interpolation."""
    for one, other in (
        *(("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")),
        *(("${", "$${"), ("%{", "%%{")),
    ):
        text = text.replace(one, other)
    return text
