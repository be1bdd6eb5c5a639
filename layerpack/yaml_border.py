"""From YAML text to a pydantic model, with errors that name file, line, key and expectation."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from layerpack.errors import RecipeError
from layerpack.recipe_mistakes import Location, recipe_error

ModelT = TypeVar("ModelT", bound=BaseModel)

# Aliases multiply (nine of nine of nine ...): far above any recipe, soon reached by such a file.
_MOST_VALUES = 100_000
_MOST_CHARACTERS = 1_000_000

# By a part of what the YAML library says.
_SYNTAX_HINTS = {
    "'\\t'": "Use spaces, and no tabs.",
    "scanning an alias": "Write text that begins with * in quotes.",
    "undefined alias": "Write text that begins with * in quotes.",
    "scanning an anchor": "Write text that begins with & in quotes.",
    "that cannot start any token": "Write text that begins with such a character in quotes.",
    "mapping values are not allowed": "Write text with ': ' in it in quotes.",
    "another document": "One file holds one recipe.",
}


def read_model(model: type[ModelT], path: Path) -> ModelT:
    """Validate the YAML file `path` against `model`.

    Validators get the file as `context["path"]`; where there is a mistake, they run once more, with
    `context["files"]`, to tell absent files with it. Raises RecipeError: one message with every
    mistake, by line and key, what was expected and the nearest valid spelling.
    """
    try:
        # A pipe would be waited for.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise RecipeError(
                f"{path} is a pipe or a device, not a recipe",
                "Save the recipe as a file: paths in it are relative to its folder.",
            )
        with path.open(encoding="utf-8") as stream:
            # A model's file may be large.
            text = stream.read(_MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe", _nearby(path)) from None
    except IsADirectoryError:
        inside = ", ".join(str(other) for other in sorted(path.glob("*.yaml")))
        raise RecipeError(
            f"{path} is a folder, not a recipe",
            f"Recipes in it: {inside}" if inside else "Name the recipe's file, such as NAME.yaml.",
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8: {error}", "Save it as UTF-8.") from None
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read: {error.strerror}", "Check its permissions."
        ) from None
    if len(text) > _MOST_CHARACTERS:
        raise RecipeError(f"{path}: larger than a recipe can be ({_MOST_CHARACTERS:,} characters)")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        value = _construct(node, (), lines)
    except yaml.YAMLError as error:
        raise RecipeError(_syntax(path, text, error), _syntax_hint(error)) from None
    except RecursionError:
        raise RecipeError(f"{path}: not valid YAML for a recipe: nested too deeply") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}:1: expected a mapping with at least: {_required(model)}")

    def validated(**context: Any) -> ModelT:
        context["path"] = path
        return model.model_validate(value, by_alias=True, by_name=False, context=context)

    try:
        return validated()
    except ValidationError as error:
        details = error.errors()
    try:
        validated(files=True)
    except ValidationError as error:
        # A model that has them is not checked as a whole, as it was before.
        told = {(one["loc"], one["type"]) for one in details}
        details += [one for one in error.errors() if (one["loc"], one["type"]) not in told]
    raise recipe_error(model, path, details, lines)


def _nearby(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = sorted(other.name for other in folder.glob("*.yaml"))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {folder / near[0]}?"
    return f"Recipes in {folder}: {', '.join(names)}" if names else ""


def _syntax(path: Path, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if problem.startswith("but "):
        problem = f"{getattr(error, 'context', '')}, {problem}"
    where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    if isinstance(error, yaml.reader.ReaderError):
        # It has no mark: such a character can be in no YAML file.
        problem = f"the character U+{error.character:04X} is not allowed"
        where = f":{text.count(chr(10), 0, error.position) + 1}"
    return f"{path}{where}: not valid YAML: {problem}"


def _syntax_hint(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", ""))
    for found, hint in _SYNTAX_HINTS.items():
        if found in f"{problem} {getattr(error, 'context', '')}":
            return hint
    return "Fix the YAML at that line."


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
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    problem="merging by '<<' is not supported: write the keys out",
                    problem_mark=key_node.start_mark,
                )
            key = _scalar(key_node)
            if key in (None, ""):
                raise yaml.MarkedYAMLError(
                    problem="a key is empty", problem_mark=key_node.start_mark
                )
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
