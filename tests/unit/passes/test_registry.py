"""The order of passes, and passes that a recipe brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.passes.registry import built_in, packing, passes_for
from tests.support.recipes import load

_OWN = """
class Own:
    name = "own"
    summary = "a pass of the recipe's own"
    after = frozenset({after})

    def wanted(self, recipe):
        return True

    def plan(self, payload, context):
        return []
"""


def _names(folder: Path, more: str = "") -> list[str]:
    return [item.name for item in passes_for(load(folder, more=more))]


def test_each_pass_comes_after_those_it_names() -> None:
    done: set[str] = set()
    for item in built_in():
        assert item.after <= done, item.name
        assert item.summary
        done.add(item.name)
    assert len(done) == len(built_in())


def test_the_default_is_everything_that_is_safe(tmp_path: Path) -> None:
    names = set(_names(tmp_path))
    assert {item.name for item in built_in()} - names == {"runtime-provided", "spacy-languages"}


def test_each_key_turns_its_pass_off(tmp_path: Path) -> None:
    keys = ("tests", "docs", "sources", "programs", "metadata", "symbols", "duplicates")
    more = "strip: {bytecode: none, " + ", ".join(f"{key}: false" for key in keys) + "}\n"
    more += "native: {store: plain}\nmxnet: {wrappers: false}\n"
    assert _names(tmp_path, more) == ["bytecode"]


def test_a_recipes_own_pass_runs_before_libraries_are_packed_and_bytecode_is_made(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(_OWN.format(after="()"))
    names = _names(tmp_path, "passes: [mine.py:Own]\n")
    assert names[-4:] == ["own", "paged", "mxnet-wrappers", "compile"]


def test_a_recipes_own_pass_may_say_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(_OWN.format(after="{'compile'}"))
    assert _names(tmp_path, "passes: [mine.py:Own]\n")[-2:] == ["compile", "own"]


@pytest.mark.parametrize(
    ("more", "after", "expected"),
    [
        ("", "()", ["symbols", "paged", "mxnet-wrappers", "compile"]),
        # A pass of the recipe's own may remove the library that needs a missing one.
        ("passes: [mine.py:Own]\n", "()", ["paged", "mxnet-wrappers", "compile"]),
        ("passes: [mine.py:Own]\n", "{'compile'}", []),
    ],
)
def test_packing_begins_after_the_last_pass_that_may_remove_files(
    tmp_path: Path, more: str, after: str, expected: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(_OWN.format(after=after))
    passes = passes_for(load(tmp_path, more=more))
    assert [item.name for item in packing(passes)] == expected


@pytest.mark.parametrize(
    ("text", "source", "message"),
    [
        ("none.py:Own", "", "does not exist"),
        ("mine.py:Own", "Own = 3", "has no class 'Own'"),
        ("mine.py:Own", "1 / 0", "fails on import: ZeroDivisionError"),
        ("mine.py:Own", "class Own:\n    name = 'own'", "lacks summary, after, wanted, plan"),
        ("mine.py:Own", "class Own:\n    def __init__(self, x): pass", "cannot be made"),
        ("mine.py:Own", _OWN.format(after="{'nothing'}"), "declares `after: nothing`"),
        ("mine.py:Own", _OWN.format(after="()").replace('"own"', '"docs"'), "two passes are named"),
        ("mine.py:Own", _OWN.format(after="{'own'}"), "after one another: own"),
    ],
)
def test_what_cannot_be_loaded_is_said(
    tmp_path: Path, text: str, source: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(RecipeError, match=message) as caught:
        _names(tmp_path, f"passes: ['{text}']\n")
    assert caught.value.exit_code == 4
