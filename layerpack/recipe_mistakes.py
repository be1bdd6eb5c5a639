"""Validation errors of a recipe as one message: every mistake, by line and key, in words."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from layerpack.errors import RecipeError

Location = tuple[str | int, ...]

_MOST_SHOWN: Final = 20
_MOST_SUGGESTED: Final = 3
#: A key that is spelt right, but elsewhere, is as near as one that is spelt a little wrong here.
_ELSEWHERE: Final = 0.1
_NEAR: Final = 0.7
#: Synonyms are many and short: only a slip or two.
_NEAR_SYNONYM: Final = 0.8

#: What other tools call a recipe's keys.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("requires", "require", "packages", "dependencies", "deps", "install-requires"),
        ("requirements",),
    ),
    **dict.fromkeys(("python", "python-version", "requires-python"), ("runtime",)),
    **dict.fromkeys(("arch", "architectures", "platform", "machine"), ("architecture",)),
    **dict.fromkeys(("env", "variables", "env-vars"), ("function.environment",)),
    **dict.fromkeys(("src", "code", "code-uri", "codeuri", "sources"), ("function.source",)),
    **dict.fromkeys(("events", "event", "tests", "test", "examples"), ("workloads",)),
    **dict.fromkeys(("models", "model", "data", "files"), ("assets",)),
    **dict.fromkeys(("index", "registry", "pypi"), ("resolve.index-url",)),
    **dict.fromkeys(("apt", "yum", "dnf", "system"), ("build.system-packages",)),
    **dict.fromkeys(("docker", "docker-image"), ("build.image",)),
    **dict.fromkeys(("libraries", "shared-libraries"), ("system-libraries",)),
    **dict.fromkeys(("summary", "title"), ("description",)),
    **dict.fromkeys(("operators", "ops"), ("mxnet.operators",)),
    **dict.fromkeys(("amd64", "x64"), ("cpu.x86_64",)),
    "aarch64": ("cpu.arm64",),
}

# pydantic's kinds of errors, in YAML's words; `{}` are of the error's context.
_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "too_short": "at least one item",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "another form of text",
}
_QUOTE_HINT: Final = "Write it in quotes if it is meant as text."


class MistakeError(ValueError):
    """A validator's error with a `hint`, and `at`: the key at fault below what is validated."""

    def __init__(self, message: str, hint: str = "", *, at: Location = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.at = at


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mistake:
    """One mistake: `union` is the location of a choice of types within which it was found."""

    location: Location
    message: str
    hint: str = ""
    expected: str = ""
    got: str = ""
    union: Location | None = None


def recipe_error(
    model: type[BaseModel],
    path: Path,
    details: Sequence[Any],
    lines: Mapping[Location, int],
) -> RecipeError:
    """All mistakes of a recipe as one error, in the order of their lines.

    `details` are pydantic's (`ValidationError.errors`); `lines` has the line (from 1) of every
    location of the file.
    """
    # pydantic counts only valid items: an invalid item has an error of its own.
    details = [one for one in details if one["type"] != "too_short" or not one["input"]]
    mistakes = _without_echoes([_mistake(model, detail, lines) for detail in details])
    placed = sorted(((_line(one.location, lines), one) for one in mistakes), key=lambda x: x[0])
    return together(
        path, [RecipeError(f"{path}:{line}: {one.message}", one.hint) for line, one in placed]
    )


def together(path: Path, mistakes: Sequence[RecipeError]) -> RecipeError:
    """Mistakes of the recipe `path` as one error; a hint that several have stands once."""
    if len(mistakes) == 1:
        return mistakes[0]
    told = [f"{path}: {len(mistakes)} mistakes"]
    hints = set()
    for one in mistakes[:_MOST_SHOWN]:
        told.append(one.message)
        if one.hint not in hints:
            told += [f"  {text}" for text in one.hint.splitlines()]
        hints.add(one.hint)
    if len(mistakes) > _MOST_SHOWN:
        told.append(f"and {len(mistakes) - _MOST_SHOWN} more")
    return RecipeError("\n".join(told))


def _line(location: Location, lines: Mapping[Location, int]) -> int:
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 1)


def _without_echoes(mistakes: Iterable[_Mistake]) -> list[_Mistake]:
    """One mistake for each choice of types, and none for a key that a misspelt one leaves out."""
    single = []
    unions: dict[Location, list[_Mistake]] = defaultdict(list)
    for one in mistakes:
        if one.union is None:
            single.append(one)
        else:
            unions[one.union].append(one)
    for location, found in unions.items():
        # A mapping meets the one type that is a mapping: what is wrong within it says more.
        deeper = [one for one in found if one.location != location]
        if deeper:
            single += deeper
        else:
            expected = " or ".join(dict.fromkeys(one.expected for one in found if one.expected))
            expected = expected.replace(" or ", ", ", expected.count(" or ") - 1)
            message = f"{dotted(location)}: expected {expected}, got {found[0].got}"
            single.append(_Mistake(location=location, message=message))
    meant = " ".join(one.hint for one in single if one.message.startswith("unknown key"))
    return [
        one
        for one in single
        if not (one.message.endswith("is missing") and f"'{one.location[-1]}'" in meant)
    ]


def _mistake(model: type[BaseModel], detail: Any, lines: Mapping[Location, int]) -> _Mistake:
    kind, got, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    location, union = _place(detail["loc"], kind, lines)
    cause = context.get("error")
    if isinstance(cause, MistakeError):
        location = (*location, *cause.at)
    key = dotted(location)
    if kind == "extra_forbidden":
        hint = _key_hint(model, location)
        return _Mistake(location=location, message=f"unknown key '{key}'", hint=hint, union=union)
    if kind == "missing":
        return _Mistake(location=location, message=f"the key '{key}' is missing", union=union)
    if kind == "value_error":
        hint = cause.hint if isinstance(cause, MistakeError) else ""
        told = f"{key}: {cause}" if key else str(cause)
        return _Mistake(location=location, message=told, hint=hint, union=union)
    if kind == "invalid_key":
        told = f"expected text as key, got {_shown(got)}"
        return _Mistake(location=location, message=told, hint=_QUOTE_HINT, union=union)
    words = _EXPECTED.get(kind)
    expected = (
        words.format(**context) if words else str(detail["msg"]).removeprefix("Input should be ")
    )
    return _Mistake(
        location=location,
        message=f"{key}: expected {expected}, got {_shown(got)}",
        hint=_value_hint(kind, got, expected) or _shape_hint(model, location, kind, got),
        expected=expected,
        got=_shown(got),
        union=union,
    )


def _place(
    found: Location, kind: str, lines: Mapping[Location, int]
) -> tuple[Location, Location | None]:
    """The location in the file, and that of the first choice of types on the way to it.

    pydantic names the type that it tries as a part of the location; the file has no such key.
    """
    location: Location = ()
    union = None
    for number, part in enumerate(found):
        absent = number == len(found) - 1 and kind in {"missing", "extra_forbidden"}
        if absent or (*location, part) in lines:
            location = (*location, part)
        elif part != "[key]" and union is None:
            union = location
    return location, union


def _shown(value: Any) -> str:
    """A value as YAML has it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _value_hint(kind: str, got: Any, expected: str) -> str:
    if kind == "literal_error":
        choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
        return _did_you_mean(difflib.get_close_matches(str(got), choices, n=1, cutoff=0.5))
    if kind == "string_type" and isinstance(got, int | float | bool | date):
        # YAML 1.1 reads `3.10` as the number 3.1, `no` as false, and a date as a date.
        return _QUOTE_HINT
    return ""


def _shape_hint(model: type[BaseModel], location: Location, kind: str, got: Any) -> str:
    """How a list or a mapping is written, where something else stands."""
    if kind == "tuple_type" and isinstance(got, str) and got and not got.count(" "):
        return f"Write it as a list: [{got!r}]."
    if kind == "bool_type" and isinstance(got, str):
        return "Write true or false, without quotes."
    if kind in {"model_type", "model_attributes_type"}:
        path = tuple(part for part in location if isinstance(part, str))
        return f"Its keys: {', '.join(_keys_below(model, path))}."
    return ""


def _keys_below(model: type[BaseModel], parent: tuple[str, ...]) -> list[str]:
    return [path[-1] for path in all_keys(model) if path[:-1] == parent]


def _did_you_mean(names: Iterable[str]) -> str:
    told = " or ".join(f"'{name}'" for name in names)
    return f"Did you mean {told}?" if told else ""


def dotted(location: Location) -> str:
    """A location as text: `assets[0].wheel`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def all_keys(model: type[BaseModel], parent: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a model and of the models in it, from the top; items of lists are no step."""
    for name, field in model.model_fields.items():
        path = (*parent, field.alias or name)
        yield path
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from all_keys(inner, path)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `tuple[Model, ...]`, `Model | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _key_hint(model: type[BaseModel], location: Location) -> str:
    *above, key = (part for part in location if isinstance(part, str))
    parent = tuple(above)
    near = [
        ".".join(path) if path[:-1] != parent else path[-1]
        for path in _nearest(list(all_keys(model)), parent, str(key))
    ]
    if near:
        return _did_you_mean(near[:_MOST_SUGGESTED])
    return f"Expected one of: {', '.join(_keys_below(model, parent))}"


def _nearest(
    keys: list[tuple[str, ...]], parent: tuple[str, ...], key: str
) -> list[tuple[str, ...]]:
    """The keys that one may mean by `key` below `parent`: by spelling here, by meaning (a
    synonym may be misspelt), by spelling elsewhere; none where nothing is near."""
    wanted = key.lower().replace("_", "-")
    same = [path for path in keys if path[-1].replace("_", "-") == wanted]
    for path in same:
        if path[:-1] == parent:
            return [path]
    meant = [tuple(name.split(".")) for name in SYNONYMS.get(wanted, ())]
    elsewhere = [path for path in [*meant, *same] if parent[: len(path)] != path]
    for path in meant:
        if parent and path[:-1] == parent:
            return [path]
    scores: dict[tuple[str, ...], float] = {}
    for path in keys:
        ratio = difflib.SequenceMatcher(None, wanted, path[-1]).ratio()
        scores[path] = ratio - (0 if path[:-1] == parent else _ELSEWHERE)
    best = max(scores.values())
    spelt = [path for path, score in scores.items() if score == best and score >= _NEAR]
    if any(path[:-1] == parent for path in spelt):
        return spelt
    if elsewhere or wanted in SYNONYMS:
        return list(dict.fromkeys(elsewhere)) or spelt
    near = difflib.get_close_matches(wanted, SYNONYMS, 1, max(_NEAR_SYNONYM, best))
    return (_nearest(keys, parent, near[0]) if near else []) or spelt
