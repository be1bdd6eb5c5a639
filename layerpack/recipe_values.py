"""The values that a recipe's keys take, each checked by itself. Validators raise ValueError."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from layerpack.lambda_variables import variable_problem
from layerpack.limits import MACHINES, Architecture, LambdaLimits, environment_problem, runtimes
from layerpack.project_root import project_root
from layerpack.recipe_mistakes import MistakeError
from layerpack.units import parse_size, without_users

_T = TypeVar("_T")
_FLOAT = re.compile(r"[0-9]+[eE][-+]?[0-9]+")
# What docker, Debian, uname and Windows call them.
_ARCHITECTURES: Final[dict[str, Architecture]] = {
    **{name: name for name in MACHINES},
    **dict.fromkeys(("aarch64", "armv8"), "arm64"),
    **dict.fromkeys(("amd64", "x86-64", "x64"), "x86_64"),
}
# Lambda's own pattern for layer names; the full ARN may be 140 characters, so a name stays short.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Form:
    """A regular expression that a text must match, and what it means in `words`."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: Callable[[CoreSchema], dict[str, Any]]
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.search(self.pattern, value):
            raise ValueError(f"expected {self.words}, got {value!r}")
        return value


def _runtime(value: object) -> object:
    """Nothing but Lambda's names, as schemas have them; other names of a version are hints."""
    known = runtimes()
    if value in known:
        return value
    digits = re.search(r"(\d)[.\s_-]?(\d*)", str(value))
    # YAML reads 3.10 as the number 3.1, and there is no Python 3.1 that anyone means.
    minor = "10" if digits and isinstance(value, float) and digits[2] == "1" else ""
    meant = f"python{digits[1]}.{minor or digits[2]}" if digits else ""
    near = [meant] if digits else difflib.get_close_matches(str(value), known, 1, 0.7)
    raise MistakeError(
        f"expected one of {', '.join(known)}, got {value!r}",
        f"Did you mean '{near[0]}'?" if near and near[0] in known else "",
    )


def _architecture(value: object) -> object:
    name = value.lower() if isinstance(value, str) else value
    return _ARCHITECTURES.get(str(name), value)


def _real_date(value: str) -> str:
    try:
        date.fromisoformat(value[:10])
    except ValueError as error:
        raise ValueError(f"'{value}' is not a date: {error}") from None
    return value


def _date(value: object) -> object:
    """YAML reads a date as a date, which TOML and pip-tools write as text."""
    return value.isoformat() if isinstance(value, date) else value


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


def _variable_value(value: str) -> str:
    if "\0" in value:
        raise ValueError("a variable's value has no NUL character")
    return value


def _variables(values: dict[str, str]) -> dict[str, str]:
    if problem := environment_problem(values):
        raise MistakeError(
            problem, "Read large values from a file in function.source, or from an asset."
        )
    return values


def _layers(value: int) -> int:
    limit = LambdaLimits.load().layers
    if value > limit:
        raise ValueError(f"at most {limit}: Lambda takes no more layers a function")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        near = re.sub(r"[^a-zA-Z0-9_-]+", "-", value).strip("-") if value.isascii() else ""
        raise MistakeError(
            f"expected at most 64 letters, digits, '-' and '_', got '{value}'",
            f"Did you mean '{near}'?" if near else "",
        )
    return value


# What pip, conda and others read in such a place, and what a recipe has for it.
_NO_REQUIREMENTS: Final = (
    (r"^-", "Options of pip have no place here: list the requirements of a file by themselves."),
    (
        r"://|^[./]|\.whl$|\.tar\.gz$",
        "Name the release, and the folder or page with its wheel in resolve.find-links.",
    ),
    (r"\.(txt|toml|in|cfg)$", "List the requirements of the file by themselves."),
    (r"\s#", "Write the comment outside of the quotes."),
    (r"\s--hash", "Remove the hash: the lock has the hashes."),
    (r"(?i)^python\s*([<>=~!;]|$)", "The key 'runtime' names the version of Python."),
)


def _requirement(value: str) -> str:
    if hint := _requirement_hint(value):
        raise MistakeError(f"expected a name and versions, such as numpy>=2, got '{value}'", hint)
    try:
        Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"'{value}' is not a requirement (PEP 508): {error}") from None
    return value


def _requirement_hint(value: str) -> str:
    """What to write for what other tools read as a requirement; empty for all else."""
    text = value.strip()
    if near := re.fullmatch(r"([\w.-]+)\s*([=^])\s*v?([\d.]+)(?:=.*)?", text):
        return f"Did you mean '{near[1]}{'~=' if near[2] == '^' else '=='}{near[3]}'?"
    return next((hint for form, hint in _NO_REQUIREMENTS if re.search(form, text)), "")


def _distribution(value: str) -> str:
    try:
        return str(canonicalize_name(value, validate=True))
    except ValueError:
        raise ValueError(f"expected a distribution's name, such as numpy, got '{value}'") from None


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


def _ignore_pattern(value: str) -> str:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 (few recipes need it)

    try:
        GitIgnoreSpec.from_lines([value])
    except ValueError:
        raise ValueError(f"expected a pattern as in .gitignore, got '{value}'") from None
    return value


def _sha256(value: str) -> str:
    digits = value.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise ValueError(f"expected the 64 hexadecimal digits of a SHA-256, got '{value}'")
    return digits.lower()


def _https(value: str) -> str:
    # First, as the others show it.
    if without_users(value) != value:
        raise ValueError("a URL here has no user and no password: they would be shown")
    # http is for a server on the same machine only; anything else must be encrypted.
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", value):
        raise ValueError(f"'{value}' is not an https URL")
    if not PurePosixPath(urlsplit(value).path).name:
        raise ValueError(f"'{value}' names no file: its path must end with one")
    return value


def _in_project(value: str, info: ValidationInfo) -> str:
    """Refuse what does not lie below the root of the project of `context["path"]`, the recipe; and,
    with `context["files"]`, what does not exist."""
    recipe = (info.context or {}).get("path")
    if recipe is None:
        return value
    root = project_root(recipe.parent)
    # Links are followed: one that leads out is out.
    if not Path(os.path.realpath(recipe.parent / Path(value).expanduser())).is_relative_to(root):
        raise MistakeError(
            f"'{value}' leads out of the project {root}",
            "A project begins at the nearest folder with .git or pyproject.toml; without one, at "
            "the recipe's folder.",
        )
    if Path(value).is_absolute():
        raise MistakeError(
            f"expected a path relative to the recipe, got '{value}'",
            f"Did you mean '{os.path.relpath(value, recipe.parent.resolve())}'?",
        )
    if info.context and info.context.get("files"):
        need_file(recipe.parent / value)
    return value


def need_file(path: Path) -> None:
    """Raise MistakeError, with the nearest name, for a file or folder that does not exist."""
    if not path.exists():
        names = sorted(other.name for other in path.parent.glob("*"))
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f"Did you mean {path.with_name(near[0])}?" if near else ""
        raise MistakeError(f"{path} does not exist", hint)


def _library_source(value: str, info: ValidationInfo) -> str:
    return _pin(value) if "==" in value else _in_project(value, info)


def _own_pass(value: str, info: ValidationInfo) -> str:
    file, _, name = value.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"'{value}' does not name a pass; write file.py:ClassName")
    _in_project(file, info)
    return value


def _answer_path(value: str) -> str:
    """A path into an answer, with `[0]` and `[*]` written as names."""
    path = re.sub(r"\[(\*|\d+)\]", r".\1", value).removeprefix(".")
    if not all(path.split(".")):
        raise ValueError(f"'{value}' is not a path into an answer; write it as results.*.id")
    return path


RequirementText = Annotated[str, AfterValidator(_requirement)]
Pin = Annotated[str, AfterValidator(_pin)]
Name = Annotated[str, AfterValidator(_name)]
LibrarySource = Annotated[str, AfterValidator(_library_source)]
RelativePath = Annotated[str, AfterValidator(_in_project)]
Distribution = Annotated[str, AfterValidator(_distribution)]
OperatorName = Annotated[str, Form(r"^[A-Za-z_]\w*$", "an operator's name, such as FullyConnected")]
Handler = Annotated[str, Form(r"^[\w./]+\.(?!py$)\w+$", "module.function, such as app.handler")]
ImageName = Annotated[
    str,
    Form(r"^[a-z0-9][\w.:/@-]*$", "an image's name, such as public.ecr.aws/sam/build-python3.12"),
]
SystemPackage = Annotated[
    str, Form(r"^[A-Za-z0-9][\w.+:~-]*$", "the name of a package, such as lz4-devel")
]
Moment = Annotated[
    str,
    BeforeValidator(_date),
    Form(r"^\d{4}-\d{2}-\d{2}", "a date, such as 2026-01-31"),
    AfterValidator(_real_date),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=int | str),
    Field(gt=0),
]
IgnorePattern = Annotated[str, AfterValidator(_ignore_pattern)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Url = Annotated[str, AfterValidator(_https)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
VariableName = Annotated[str, AfterValidator(_variable)]
VariableValue = Annotated[str, AfterValidator(_variable_value)]
Variables = Annotated[dict[VariableName, VariableValue], AfterValidator(_variables)]
AnswerPath = Annotated[str, AfterValidator(_answer_path)]
RuntimeName = Annotated[str, BeforeValidator(_runtime)]
ArchitectureName = Annotated[
    Architecture,
    BeforeValidator(
        _architecture, json_schema_input_type=Literal["x86_64", "arm64", "amd64", "aarch64"]
    ),
]
OwnPass = Annotated[str, AfterValidator(_own_pass)]
Number = Annotated[float, BeforeValidator(_number)]
LayerCount = Annotated[int, AfterValidator(_layers)]


class SystemLibraries(BaseModel):
    """Bundle what the runtime lacks, with exceptions. Every other key is a soname, such as
    `libexpat.so.1`: its value is a file beside the recipe (a library, or a wheel that holds it), or
    a wheel of the package index (`distribution==version`)."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, use_attribute_docstrings=True
    )
    __pydantic_extra__: dict[str, LibrarySource] = Field(init=False)

    optional: tuple[str, ...] = Field(default=(), strict=False)
    """Sonames that may be missing: who needs them is never loaded, or does without."""

    @model_validator(mode="before")
    @classmethod
    def _sonames(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError("expected 'optional', or a soname such as libexpat.so.1")
        for key in value:
            if key != "optional" and (".so" not in str(key) or "/" in str(key)):
                raise MistakeError(
                    f"'{key}' is neither 'optional' nor a soname, as libexpat.so.1 is", at=(key,)
                )
        return value

    @property
    def sources(self) -> dict[str, str]:
        """What the recipe names for each soname: a path, or `distribution==version`."""
        return dict(self.__pydantic_extra__ or {})
