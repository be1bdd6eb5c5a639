"""The border: YAML that is no recipe gives one message with file, line and column, never more."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from layerpack.yaml_border import read_model

HEAD = "name: x\nruntime: python3.12\nrequirements: [numpy]\n"
FIX = "\nFix the YAML at that line."
BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{former}'] * 9) if former else 'x, x'}]\n"
    for name, former in zip("abcdefghi", [None, *"abcdefgh"], strict=True)
)


def message(folder: Path, text: str | bytes) -> str:
    """What `read_model` says of a recipe with the text, without the folder's name."""
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        read_model(Recipe, path)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "name: x\nruntime: [python\nrequirements: {a\n",
            "r.yaml:3:13: not valid YAML: expected ',' or ']', but got ':'" + FIX,
            id="unclosed list",
        ),
        pytest.param(
            "name: x\n\truntime: y\n",
            "r.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token\n"
            "Use spaces, and no tabs.",
            id="tab",
        ),
        pytest.param(
            HEAD + "name: y\n",
            "r.yaml:4:1: not valid YAML: the key 'name' stands here twice" + FIX,
            id="duplicate key",
        ),
        pytest.param(
            HEAD + "strip: {tests: true, tests: false}\n",
            "r.yaml:4:22: not valid YAML: the key 'tests' stands here twice" + FIX,
            id="duplicate key below",
        ),
        pytest.param(
            HEAD + "---\n" + HEAD,
            "r.yaml:4:1: not valid YAML: expected a single document in the stream, but found "
            "another document\nOne file holds one recipe.",
            id="two documents",
        ),
        pytest.param(
            HEAD + "description: *nowhere\n",
            "r.yaml:4:14: not valid YAML: found undefined alias 'nowhere'\n"
            "Write text that begins with * in quotes.",
            id="undefined alias",
        ),
        pytest.param(
            HEAD + "description: !!python/name:os.system\n",
            "r.yaml:4:14: not valid YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'" + FIX,
            id="python name",
        ),
        pytest.param(
            HEAD + "? [a, b]\n: c\n",
            "r.yaml:4:3: not valid YAML: a key must be plain text" + FIX,
            id="list as key",
        ),
        pytest.param(
            HEAD + "? {a: b}\n: c\n",
            "r.yaml:4:3: not valid YAML: a key must be plain text" + FIX,
            id="mapping as key",
        ),
        pytest.param(
            HEAD + "strip: {tests: !!bool maybe}\n",
            "r.yaml:4:16: not valid YAML: 'maybe' is no bool" + FIX,
            id="no bool",
        ),
        pytest.param(
            HEAD + "description: !!timestamp soon\n",
            "r.yaml:4:14: not valid YAML: 'soon' is no timestamp" + FIX,
            id="no timestamp",
        ),
        pytest.param(
            HEAD + "layers: {max: !!int ''}\n",
            "r.yaml:4:15: not valid YAML: '' is no int" + FIX,
            id="no int",
        ),
        pytest.param(
            HEAD + "description: 2024-99-99\n",
            "r.yaml:4:14: not valid YAML: month must be in 1..12" + FIX,
            id="impossible date",
        ),
        pytest.param(
            HEAD + 'description: "\\ud800"\n',
            "r.yaml:4:14: not valid YAML: no such character: surrogates not allowed" + FIX,
            id="lone surrogate",
        ),
        pytest.param(
            HEAD + "description: &a [*a]\n",
            "r.yaml: not valid YAML for a recipe: nested too deeply",
            id="list that holds itself",
        ),
        pytest.param(
            HEAD + "strip: &a {tests: *a}\n",
            "r.yaml: not valid YAML for a recipe: nested too deeply",
            id="mapping that holds itself",
        ),
        pytest.param(
            "name: " + "[" * 1000 + "]" * 1000,
            "r.yaml: not valid YAML for a recipe: nested too deeply",
            id="deep nesting",
        ),
        pytest.param(
            "",
            "r.yaml:1: expected a mapping with at least: name, runtime, requirements",
            id="empty",
        ),
        pytest.param(
            "# nothing yet\n",
            "r.yaml:1: expected a mapping with at least: name, runtime, requirements",
            id="comment only",
        ),
        pytest.param(
            "- name\n- runtime\n",
            "r.yaml:1: expected a mapping with at least: name, runtime, requirements",
            id="list",
        ),
        pytest.param(
            "hello\n",
            "r.yaml:1: expected a mapping with at least: name, runtime, requirements",
            id="scalar",
        ),
        pytest.param(
            HEAD + "1: x\n",
            "r.yaml:4: expected text as key, got 1\nWrite it in quotes if it is meant as text.",
            id="number as key",
        ),
    ],
)
def test_text_that_is_no_recipe_is_told_with_its_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text) == expected


def test_aliases_of_aliases_end_early(tmp_path: Path) -> None:
    assert "more than 100000 values (aliases of aliases?)" in message(tmp_path, BOMB)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x7fELF\x02\x01\x01\x00\x00\x00", id="NUL bytes"),
        pytest.param(HEAD.encode("utf-16"), id="UTF-16"),
        pytest.param(HEAD.encode() + b"description: \xff\xfe\n", id="not UTF-8"),
    ],
)
def test_a_binary_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    text = message(tmp_path, data)
    assert text.startswith("r.yaml:")
    assert len(text.splitlines()) <= 2


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(RecipeError, match="larger than a recipe can be"):
        read_model(Recipe, path)


def test_a_pipe_or_a_device_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.yaml")
    for path in (tmp_path / "r.yaml", Path("/dev/zero")):
        with pytest.raises(RecipeError, match=f"{path} is a pipe or a device") as caught:
            read_model(Recipe, path)
        assert "file" in caught.value.hint


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert read_model(Recipe, path).name == "x"


def test_python_objects_are_not_made(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    text = HEAD + f"description: !!python/object/apply:os.mkdir ['{witness}']\n"
    assert message(tmp_path, text).startswith("r.yaml:4: description: ")
    assert not witness.exists()


def test_an_absent_recipe_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "bert.yaml").write_text(HEAD)
    (tmp_path / "sklearn.yaml").write_text(HEAD)
    with pytest.raises(RecipeError) as caught:
        read_model(Recipe, tmp_path / "brt.yaml")
    expected = f"""\
        {tmp_path}/brt.yaml: no such recipe
        Did you mean {tmp_path}/bert.yaml?"""
    assert str(caught.value) == textwrap.dedent(expected)


def test_an_absent_recipe_far_from_any_lists_those_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "a.yaml").write_text(HEAD)
    (folder / "b.yaml").write_text(HEAD)
    with pytest.raises(RecipeError) as caught:
        read_model(Recipe, folder / ("z" * 100))
    assert caught.value.hint == f"Recipes in {folder}: a.yaml, b.yaml"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is a folder, not a recipe\n\w"):
        read_model(Recipe, tmp_path)


def test_equal_aliases_are_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: &n x\ndescription: *n\nruntime: python3.12\nrequirements: [numpy]\n")
    assert read_model(Recipe, path).description == "x"
