"""From YAML text to a pydantic model, with errors that name file, line, key and expectation."""

from __future__ import annotations

import difflib
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from layerpack.errors import RecipeError

ModelT = TypeVar("ModelT", bound=BaseModel)
Location = tuple[str | int, ...]

# Aliases multiply (nine of nine of nine ...): far above any recipe, soon reached by such a file.
_MOST_VALUES = 100_000

# What pydantic calls by Python's names, in YAML's.
_EXPECTED = {
    "tuple_type": "expected a list",
    "too_short": "expected at least one item",
    "model_type": "expected a mapping",
}

# YAML 1.1 reads `python: 3.10` as the number 3.1, and `no` as false: say so where it may matter.
_QUOTE_HINT = "write it in quotes if it is meant as text"


def read_model(model: type[ModelT], path: Path) -> ModelT:
    """Validate the YAML file `path` against `model`.

    Raises RecipeError: one message with file, line, key, what was expected and the nearest valid
    spelling.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe", _nearby(path)) from None
    except IsADirectoryError:
        inside = ", ".join(str(other) for other in sorted(path.glob("*.yaml")))
        raise RecipeError(
            f"{path} is a folder, not a recipe", f"Recipes in it: {inside}" if inside else ""
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8: {error}", "Save it as UTF-8.") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        value = _construct(node, (), lines)
    except yaml.YAMLError as error:
        raise RecipeError(_syntax(path, error), "Mend the YAML at that place.") from None
    except RecursionError:
        raise RecipeError(f"{path}: not valid YAML for a recipe: nested too deeply") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}:1: expected a mapping with at least: {_required(model)}")
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _first(model, path, error, lines) from None


def _nearby(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = sorted(other.name for other in folder.glob("*.yaml"))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {folder / near[0]}?"
    return f"Recipes in {folder}: {', '.join(names)}" if names else ""


def _syntax(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if problem.startswith("but "):
        problem = f"{getattr(error, 'context', '')}, {problem}"
    where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    return f"{path}{where}: not valid YAML: {problem}"


class _DuplicateKeyError(yaml.MarkedYAMLError):
    pass


def _construct(node: yaml.Node | None, location: Location, lines: dict[Location, int]) -> Any:
    """Plain values of a node; fills `lines` with the line (from 1) of every location."""
    if node is None:
        return None
    if len(lines) > _MOST_VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"more than {_MOST_VALUES} values (aliases of aliases?)",
            problem_mark=node.start_mark,
        )
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            if key in result:
                raise _DuplicateKeyError(
                    problem=f"the key '{key}' stands here twice", problem_mark=key_node.start_mark
                )
            lines[(*location, key)] = key_node.start_mark.line + 1
            result[key] = _construct(value_node, (*location, key), lines)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*location, i), lines) for i, child in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node, deep=True)
    except (ValueError, LookupError, AttributeError) as error:
        # SafeLoader lets an impossible date, `!!bool maybe` and the like through as they come.
        problem = (
            str(error) if isinstance(error, ValueError) else f"'{node.value}' is no {node.tag[18:]}"
        )
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None
    try:
        hash(value)
        # A lone surrogate (an escape in double quotes) can be in no file.
        str(value).encode()
    except UnicodeEncodeError as error:
        raise yaml.MarkedYAMLError(
            problem=f"no such character: {error.reason}", problem_mark=node.start_mark
        ) from None
    except TypeError:
        raise yaml.MarkedYAMLError(
            problem="a key must be plain text", problem_mark=node.start_mark
        ) from None
    return value


def _required(model: type[BaseModel]) -> str:
    return ", ".join(
        field.alias or name for name, field in model.model_fields.items() if field.is_required()
    )


def _first(
    model: type[BaseModel], path: Path, error: ValidationError, lines: dict[Location, int]
) -> RecipeError:
    """The error to show: unknown keys first (a misspelling also causes 'missing' elsewhere)."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    detail = details[0]
    location: Location = tuple(part for part in detail["loc"])
    known = location
    while known and known not in lines:
        known = known[:-1]
    key = _dotted(location)
    at = f"{path}:{lines.get(known, 1)}"
    kind = detail["type"]
    if kind == "extra_forbidden":
        keys = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        return RecipeError(
            f"{at}: unknown key '{key}'", f"{hint}Expected one of: {', '.join(keys)}"
        )
    if kind == "missing":
        return RecipeError(f"{at}: the key '{key}' is missing")
    message = detail["msg"].removeprefix("Value error, ")
    got = detail.get("input")
    if kind == "value_error":
        return RecipeError(f"{at}: {key or 'recipe'}: {message}", _suggest(kind, detail))
    shown = "nothing" if got is None else repr(got)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    message = _EXPECTED.get(kind) or message[0].lower() + message[1:]
    return RecipeError(f"{at}: {key}: {message}, got {shown}", _suggest(kind, detail))


def _suggest(kind: str, detail: Any) -> str:
    got = detail.get("input")
    if kind == "literal_error":
        expected = [
            word.strip("' ")
            for word in str(detail["ctx"]["expected"]).replace(" or ", ",").split(",")
        ]
        near = difflib.get_close_matches(str(got), expected, n=1, cutoff=0.5)
        return f"Did you mean '{near[0]}'?" if near else ""
    if kind == "value_error" and isinstance(got, str):
        known = str(detail["msg"]).partition("; known are ")[2].split(", ")
        near = difflib.get_close_matches(got, known, n=1, cutoff=0.7)
        return f"Did you mean '{near[0]}'?" if near else ""
    if kind == "string_type" and isinstance(got, int | float | bool | date):
        article = "an" if isinstance(got, int) and not isinstance(got, bool) else "a"
        return f"YAML read {article} {type(got).__name__} here: {_QUOTE_HINT}."
    return ""


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The valid keys of the mapping at `location`."""
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for n, f in current.model_fields.items() if part in (f.alias, n)), None)
        if field is None:
            break
        current = _model_in(field.annotation) or current
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `tuple[Model, ...]`, `Model | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
