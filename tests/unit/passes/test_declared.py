"""Passes as they are shown: in the order that they run in, and none of a recipe's is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.passes.declared import Declared, declared
from layerpack.passes.registry import built_in, passes_for
from tests.support.recipes import load

PASS = """
raise SystemExit("it was imported")


class Own:
    name = "own"
    summary = "one of the recipe's own"
    after = {after}
"""


def shown(folder: Path, source: str, more: str = "passes: [mine.py:Own]\n") -> list[Declared]:
    """The passes that a recipe with a pass of its own asks for."""
    (folder / "mine.py").write_text(source)
    return [one for one, wanted in declared(load(folder, more=more)) if wanted]


def test_built_in_passes_are_shown_as_they_run() -> None:
    assert [one.name for one, _ in declared()] == [one.name for one in built_in()]


def test_those_of_a_recipe_are_those_that_run(tmp_path: Path) -> None:
    recipe = load(tmp_path, more="strip: {docs: false}\n")
    wanted = [one.name for one, asked in declared(recipe) if asked]
    assert wanted == [one.name for one in passes_for(recipe)]
    assert [one.name for one, asked in declared(recipe) if not asked].count("docs") == 1


@pytest.mark.parametrize(
    ("after", "place"),
    [("frozenset()", -4), ("frozenset({'compile'})", -1), ("frozenset(('bytecode',))", -4)],
)
def test_a_pass_is_read_and_has_its_place(tmp_path: Path, after: str, place: int) -> None:
    one = shown(tmp_path, PASS.format(after=after))[place]
    assert (one.name, one.own_name, one.remark) == ("mine.py:Own", "own", "")
    assert one.summary == "one of the recipe's own"


@pytest.mark.parametrize(
    "source",
    [
        PASS.format(after="frozenset(NAMES)"),
        PASS.format(after="frozenset()").replace('name = "own"', "name = NAME"),
        "from elsewhere import Own\n",
    ],
)
def test_one_that_cannot_be_read_comes_last_with_a_remark(tmp_path: Path, source: str) -> None:
    one = shown(tmp_path, source)[-1]
    assert one.name == "mine.py:Own"
    assert one.remark


def test_one_that_comes_after_such_a_pass_has_no_place_either(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(PASS.format(after="frozenset({'unknown'})"))
    source = PASS.format(after="frozenset()").replace('name = "own"', "name = NAME")
    more = "passes: [first.py:Own, mine.py:Own]\n"
    last = shown(tmp_path, source, more)[-2:]
    assert [one.name for one in last] == ["first.py:Own", "mine.py:Own"]
    assert all(one.remark for one in last)


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("", "passes: [none.py:Own]\n"),
        ("class Own(\n", "passes: [mine.py:Own]\n"),
        (PASS.format(after="frozenset({'nothing'})"), "passes: [mine.py:Own]\n"),
    ],
)
def test_what_a_build_would_refuse_is_refused(tmp_path: Path, source: str, more: str) -> None:
    with pytest.raises(RecipeError):
        shown(tmp_path, source, more)
