"""What passes a recipe has, told without running any code of the recipe: for `passes` and
`--dry-run`. A pass of the recipe's own is read (ast), and not imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any

from layerpack.errors import RecipeError
from layerpack.passes.registry import built_in, ordered, own_pass_file, with_own
from layerpack.recipe import Recipe

_UNKNOWN = "(a pass of the recipe's own)"
_PLACE = "its place in the order is known when it runs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A pass as it is shown.

    `name` is `file.py:ClassName` for one of the recipe's own, whose class calls it `own_name`;
    `remark` says what could not be read of it.
    """

    name: str
    summary: str
    after: frozenset[str]
    own_name: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class _Item:
    """A pass by the name that others' `after` know it by."""

    name: str
    after: frozenset[str]
    shown: Declared


def declared(recipe: Recipe | None = None) -> tuple[tuple[Declared, bool], ...]:
    """The built-in passes and the recipe's own in their order, each with whether the recipe asks
    for it; then those that it does not ask for, and first those whose place is not known.

    Raises RecipeError for a pass whose file or class is not there, and for an order that cannot be.
    """
    table = [(one, recipe is None or one.wanted(recipe)) for one in built_in()]
    items = [
        _Item(one.name, one.after, Declared(name=one.name, summary=one.summary, after=one.after))
        for one, _ in table
    ]
    wanted = {one.name for one, asked in table if asked}
    own = [_read(recipe, text) for text in recipe.passes] if recipe else []
    if any(one.remark for one in own):
        # What comes after a pass that could not be read has no known place either.
        names = {item.name for item in items} | {one.own_name for one in own if not one.remark}
        own = [one if one.after <= names else replace(one, remark=_PLACE) for one in own]
    placed = [_Item(one.own_name, one.after, one) for one in own if not one.remark]
    done = [item.shown for item in ordered(with_own(items, placed))]
    unplaced = [one for one in own if one.remark]
    asked = [one for one in done if one.name in wanted or one.own_name]
    others = [one for one in done if one not in asked]
    return (*((one, True) for one in (*asked, *unplaced)), *((one, False) for one in others))


def _read(recipe: Recipe, text: str) -> Declared:
    """A pass of the recipe's own, by its source."""
    path = own_pass_file(recipe, text)
    name = text.rpartition(":")[2]
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise RecipeError(f"{recipe.path}: passes: {path} cannot be read: {error}") from None
    found = next(
        (one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name), None
    )
    values = _attributes(found) if found else {}
    own_name, after = values.get("name"), values.get("after")
    known = isinstance(own_name, str) and isinstance(after, frozenset)
    return Declared(
        name=text,
        own_name=own_name if isinstance(own_name, str) else name,
        summary=str(values.get("summary", _UNKNOWN)),
        after=after if isinstance(after, frozenset) else frozenset(),
        remark="" if known else _PLACE,
    )


def _attributes(kind: ast.ClassDef) -> dict[str, Any]:
    """The attributes that a class sets to literals; `frozenset(...)` of one counts."""
    values: dict[str, Any] = {}
    for statement in kind.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                with_value = _literal(value)
                if with_value is not None:
                    values[target.id] = with_value
    return values


def _literal(node: ast.expr) -> object:
    """Its value; None where it is no literal."""
    is_set = isinstance(node, ast.Call) and ast.unparse(node.func) == "frozenset"
    try:
        if is_set and isinstance(node, ast.Call) and not node.keywords:
            return frozenset(*(ast.literal_eval(one) for one in node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
