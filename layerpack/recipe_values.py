"""The values that a recipe's keys take, each checked by itself. Validators raise ValueError."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BeforeValidator, Field

from layerpack.lambda_variables import variable_problem
from layerpack.limits import LambdaLimits, runtimes
from layerpack.units import parse_size

_T = TypeVar("_T")
_FLOAT = re.compile(r"[0-9]+[eE][-+]?[0-9]+")
# Lambda's own pattern for layer names; the full ARN may be 140 characters, so a name stays short.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _runtime(value: str) -> str:
    if value not in runtimes():
        raise ValueError(f"unknown runtime '{value}'; known are {', '.join(runtimes())}")
    return value


def _number(value: object) -> object:
    """YAML 1.1 takes 1e-5 for a text, as it has no point."""
    return float(value) if isinstance(value, str) and _FLOAT.fullmatch(value) else value


def once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """What is listed, without repetitions."""
    return tuple(dict.fromkeys(values))


def _variable(value: str) -> str:
    if problem := variable_problem(value):
        raise ValueError(problem)
    return value


def _layers(value: int) -> int:
    limit = LambdaLimits.load().layers
    if value > limit:
        raise ValueError(f"at most {limit}: Lambda takes no more layers a function")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a layer name: letters, digits, '-' and '_', at most 64")
    return value


def _requirement(value: str) -> str:
    try:
        requirement = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"'{value}' is not a requirement (PEP 508): {error}") from None
    if requirement.url:
        raise ValueError(f"'{value}' names a URL; a requirement is a name and versions")
    return value


def _pin(value: str) -> str:
    requirement = Requirement(_requirement(value))
    specifiers = list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        raise ValueError(f"'{value}' must name one exact version: distribution==version")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"'{value}' is not a regular expression: {error}") from None
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("a SHA-256 has 64 hexadecimal digits")
    return value.lower()


def _https(value: str) -> str:
    # http is for a server on the same machine only; anything else must be encrypted.
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", value):
        raise ValueError(f"'{value}' is not an https URL")
    if not PurePosixPath(urlsplit(value).path).name:
        raise ValueError(f"'{value}' names no file: its path must end with one")
    return value


def _relative(value: str) -> str:
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"'{value}' must lie below the recipe's folder")
    return value


def _own_pass(value: str) -> str:
    file, _, name = value.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"'{value}' does not name a pass; write file.py:ClassName")
    _relative(file)
    return value


RequirementText = Annotated[str, AfterValidator(_requirement)]
Pin = Annotated[str, AfterValidator(_pin)]
Name = Annotated[str, AfterValidator(_name)]
RelativePath = Annotated[str, AfterValidator(_relative)]
Distribution = Annotated[str, AfterValidator(lambda value: str(canonicalize_name(value)))]
OperatorName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=int | str),
    Field(gt=0),
]
Pattern = Annotated[str, AfterValidator(_pattern)]
Url = Annotated[str, AfterValidator(_https)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
VariableName = Annotated[str, AfterValidator(_variable)]
RuntimeName = Annotated[str, AfterValidator(_runtime)]
OwnPass = Annotated[str, AfterValidator(_own_pass)]
Number = Annotated[float, BeforeValidator(_number)]
LayerCount = Annotated[int, AfterValidator(_layers)]
