"""Reading back what layerpack saved as JSON: typed values, or one clause on what is damaged."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

_T = TypeVar("_T")


def parsed(kind: type[_T], text: bytes) -> _T:
    """The value of a type (a dataclass, say) that JSON text holds, every field of its own type.

    Raises ValueError with a clause that names the first field that is missing or of another type.
    """
    try:
        value: _T = _adapter(cast(Hashable, kind)).validate_json(text, strict=True)
        return value
    except ValidationError as error:
        raise ValueError(_clause(error)) from None


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def check(kind: type[BaseModel], value: object) -> None:
    """Raise ValueError, as `parsed` does, for a value that does not fit a model."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        raise ValueError(_clause(error)) from None


def _clause(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    told = first["msg"].removeprefix("Value error, ")
    return f"{place}: {told}" if place else told
