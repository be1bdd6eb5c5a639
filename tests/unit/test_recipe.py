"""Recipes that are not valid: one clear error for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from tests.support.recipes import recipe_file

HEAD = "name: x\nruntime: python3.12\nrequirements: [numpy]\n"
ALL_KEYS = (
    "name, description, runtime, architecture, requirements, resolve, build, system-libraries, "
    "patches, assets, function, workloads, strip, native, cpu, mxnet, verify, passes, layers"
)
RUNTIMES = "python3.9, python3.10, python3.11, python3.12, python3.13, python3.14"


def message(folder: Path, text: str) -> str:
    """What is wrong with the recipe, without the folder's name."""
    path = recipe_file(folder, text, "r.yaml")
    for name in ("a", "a.py", "b", "c", "x"):
        (folder / name).touch()
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            HEAD + "requirement: [a]\n",
            "r.yaml:4: unknown key 'requirement'\nDid you mean 'requirements'?",
            id="top",
        ),
        pytest.param(
            HEAD + "zzz: 1\n",
            f"r.yaml:4: unknown key 'zzz'\nExpected one of: {ALL_KEYS}",
            id="like no other",
        ),
        pytest.param(
            HEAD + "system_libraries: auto\n",
            "r.yaml:4: unknown key 'system_libraries'\nDid you mean 'system-libraries'?",
            id="underscore",
        ),
        pytest.param(
            HEAD + "strip:\n  docs: true\n  test: true\n",
            "r.yaml:6: unknown key 'strip.test'\nDid you mean 'tests'?",
            id="below",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n    file: b\n  - name: c\n    whel: b==1\n",
            "r.yaml:8: unknown key 'assets[1].whel'\nDid you mean 'wheel'?",
            id="in a list's item",
        ),
        pytest.param(
            HEAD + "patches:\n  - package: a\n    replace: {patern: x, with: y}\n",
            "r.yaml:6: unknown key 'patches[0].replace.patern'\nDid you mean 'pattern'?",
            id="below a list's item",
        ),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_or_all_valid_ones(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nruntime: python3.12\n", "r.yaml:1: the key 'requirements' is missing"),
        (
            HEAD + "patches:\n  - package: a\n    replace: {pattern: x}\n",
            "r.yaml:6: the key 'patches[0].replace.with' is missing",
        ),
        (HEAD + "assets:\n  - file: a\n", "r.yaml:5: the key 'assets[0].name' is missing"),
    ],
)
def test_a_missing_key_is_told_where_it_should_stand(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            HEAD + "strip: {tests: 'yes'}\n",
            "r.yaml:4: strip.tests: expected true or false, got 'yes'",
            id="text for a switch",
        ),
        pytest.param(
            "name: x\nruntime: 3.12\nrequirements: [numpy]\n",
            f"r.yaml:2: runtime: expected one of {RUNTIMES}, got 3.12\nDid you mean 'python3.12'?",
            id="number for text",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements:\n  - numpy\n  - 3.10\n",
            "r.yaml:5: requirements[1]: expected text, got 3.1\n"
            "Write it in quotes if it is meant as text.",
            id="number for text in a list",
        ),
        pytest.param(
            "name: no\nruntime: python3.12\nrequirements: [numpy]\n",
            "r.yaml:1: name: expected text, got false\nWrite it in quotes if it is meant as text.",
            id="no is a switch",
        ),
        pytest.param(
            HEAD + "description: 2024-01-01\n",
            "r.yaml:4: description: expected text, got 2024-01-01\n"
            "Write it in quotes if it is meant as text.",
            id="date for text",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements: numpy\n",
            "r.yaml:3: requirements: expected a list, got 'numpy'",
            id="text for a list",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements: []\n",
            "r.yaml:3: requirements: expected at least one item, got an empty list",
            id="empty list",
        ),
        pytest.param(
            HEAD + "layers:\n", "r.yaml:4: layers: expected a mapping, got nothing", id="nothing"
        ),
        pytest.param(
            HEAD + "strip: true\n", "r.yaml:4: strip: expected a mapping, got true", id="no mapping"
        ),
        pytest.param(
            HEAD + "layers: {max: '3'}\n",
            "r.yaml:4: layers.max: expected a whole number, got '3'",
            id="text for a number",
        ),
        *(
            pytest.param(
                HEAD + f"mxnet: {{operators: {given}}}\n",
                "r.yaml:4: mxnet.operators: expected 'all', 'recorded' or a list of names, such as "
                f"[softmax, topk], got {shown}",
                id=f"operators: {given}",
            )
            for given, shown in (("FullyConnected", "'FullyConnected'"), ("5", "5"))
        ),
    ],
)
def test_a_wrong_type_is_told_with_what_was_expected_and_found(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "name: x\nruntime: pyton3.12\nrequirements: [numpy]\n",
            f"r.yaml:2: runtime: expected one of {RUNTIMES}, got 'pyton3.12'\n"
            "Did you mean 'python3.12'?",
            id="runtime",
        ),
        pytest.param(
            "name: x\nruntime: node20\nrequirements: [numpy]\n",
            f"r.yaml:2: runtime: expected one of {RUNTIMES}, got 'node20'",
            id="foreign runtime",
        ),
        pytest.param(
            HEAD + "architecture: x86_46\n",
            "r.yaml:4: architecture: expected 'x86_64' or 'arm64', got 'x86_46'\n"
            "Did you mean 'x86_64'?",
            id="architecture",
        ),
        pytest.param(
            HEAD + "strip: {bytecode: unchecked}\n",
            "r.yaml:4: strip.bytecode: expected 'auto', 'none' or 'unchecked-hash', "
            "got 'unchecked'\nDid you mean 'unchecked-hash'?",
            id="bytecode",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements:\n  - numpy\n  - scipy=<2\n",
            "r.yaml:5: requirements[1]: 'scipy=<2' is not a requirement (PEP 508): Expected "
            "semicolon (after name with no version specifier) or end\n    scipy=<2\n         ^",
            id="requirement",
        ),
        pytest.param(
            HEAD + "build: {constraints: [cython @ https://example.org/c.whl]}\n",
            "r.yaml:4: build.constraints[0]: expected a name and versions, such as numpy>=2, got "
            "'cython @ https://example.org/c.whl'",
            id="requirement by URL",
        ),
        pytest.param(
            "name: a b\nruntime: python3.12\nrequirements: [numpy]\n",
            "r.yaml:1: name: expected at most 64 letters, digits, '-' and '_', got 'a b'",
            id="name",
        ),
        pytest.param(
            'name: "ab\\n"\nruntime: python3.12\nrequirements: [numpy]\n',
            "r.yaml:1: name: expected at most 64 letters, digits, '-' and '_', got 'ab\n'",
            id="name with a line break",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n",
            "r.yaml:5: assets[0]: an asset needs a source ('wheel', 'file', 'url') or 'prepare'",
            id="asset without a source",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n    file: b\n    wheel: c==1\n",
            "r.yaml:5: assets[0]: an asset has one source, not wheel and file",
            id="asset with two sources",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n    url: https://example.org/x\n",
            "r.yaml:5: assets[0]: an asset from a URL needs its 'sha256'",
            id="URL without a hash",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n    url: http://example.org/x\n",
            "r.yaml:6: assets[0].url: 'http://example.org/x' is not an https URL",
            id="URL in the clear",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, url: 'http://localhost.example.org/x'}]\n",
            "r.yaml:4: assets[0].url: 'http://localhost.example.org/x' is not an https URL",
            id="URL that looks local",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, url: 'https://example.org/?file=x'}]\n",
            "r.yaml:4: assets[0].url: 'https://example.org/?file=x' names no file: its path must "
            "end with one",
            id="URL without a file",
        ),
        pytest.param(
            HEAD + "passes: [own.py]\n",
            "r.yaml:4: passes[0]: 'own.py' does not name a pass; write file.py:ClassName",
            id="pass without a class",
        ),
        pytest.param(
            HEAD + "passes: ['a.py:One', 'own.txt:Own']\n",
            "r.yaml:4: passes[1]: 'own.txt:Own' does not name a pass; write file.py:ClassName",
            id="pass in no module",
        ),
        pytest.param(
            HEAD + "passes: ['own.py:Own-1']\n",
            "r.yaml:4: passes[0]: 'own.py:Own-1' does not name a pass; write file.py:ClassName",
            id="pass of no name",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, file: x, sha256: abc}]\n",
            "r.yaml:4: assets[0].sha256: expected the 64 hexadecimal digits of a SHA-256",
            id="hash",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, wheel: 'b>=1'}]\n",
            "r.yaml:4: assets[0].wheel: 'b>=1' must name one exact version: distribution==version",
            id="asset's wheel without a version",
        ),
        pytest.param(
            HEAD + "layers:\n  direct-upload: true\n  max: 6\n",
            "r.yaml:6: layers.max: at most 5: Lambda takes no more layers a function",
            id="too many layers",
        ),
        pytest.param(
            HEAD + "layers: {max: 0}\n",
            "r.yaml:4: layers.max: expected at least 1, got 0",
            id="no layers",
        ),
        pytest.param(
            HEAD + "native: {store: page}\n",
            "r.yaml:4: native.store: expected 'auto', 'paged' or 'plain', got 'page'\n"
            "Did you mean 'paged'?",
            id="store",
        ),
        pytest.param(
            HEAD + "native: {data: paged}\n",
            "r.yaml:4: native.data: expected 'auto', 'packed' or 'plain', got 'paged'\n"
            "Did you mean 'packed'?",
            id="data",
        ),
        pytest.param(
            HEAD + "native:\n  store: paged\n  level: 23\n",
            "r.yaml:6: native.level: expected at most 22, got 23",
            id="level",
        ),
        pytest.param(
            HEAD + "function: {source: x, budget: 5 apples}\n",
            "r.yaml:4: function.budget: '5 apples' is not a size; write bytes, or a number with "
            "KB, MB or GB",
            id="size",
        ),
        pytest.param(
            HEAD + "function: {source: x, budget: }\n",
            "r.yaml:4: function.budget: 'None' is not a size; write bytes, or a number with "
            "KB, MB or GB",
            id="size that is nothing",
        ),
        pytest.param(
            HEAD + "function: {source: x, budget: -1}\n",
            "r.yaml:4: function.budget: expected more than 0, got -1",
            id="negative size",
        ),
        pytest.param(
            HEAD + "function: {source: x, handler: app}\n",
            "r.yaml:4: function.handler: expected module.function, such as app.handler, got 'app'",
            id="handler",
        ),
        pytest.param(
            HEAD + "patches:\n  - package: a\n    replace: {pattern: '(', with: y}\n",
            "r.yaml:6: patches[0].replace.pattern: '(' is not a regular expression: missing ), "
            "unterminated subpattern at position 0",
            id="regular expression",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, file: b}, {name: a, file: c}]\n",
            "r.yaml:4: assets[1].name: two assets are named 'a'",
            id="two of one name",
        ),
        pytest.param(
            HEAD + "workloads: [{name: a, event: b}]\n",
            "r.yaml:4: workloads: there is no 'function' to run them",
            id="workload without a function",
        ),
    ],
)
def test_a_bad_value_is_told_with_line_key_and_expectation(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text).startswith(expected)


def test_a_misspelt_key_is_told_before_the_one_that_it_leaves_missing(tmp_path: Path) -> None:
    text = message(tmp_path, "name: x\nruntime: python3.12\nrequirments: [numpy]\n")
    assert text.startswith("r.yaml:3: unknown key 'requirments'\nDid you mean 'requirements'?")


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    text = message(tmp_path, HEAD + f"strip: {{tests: {'y' * 5000}}}\n")
    assert len(text) < 200
    assert "...\n" in text


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("{libx.so: ../x}", "libx.so: '../x' leads out of the project"),
        ("{libx.so: 3}", "libx.so: "),
        ("{lib/x.so: x}", "lib/x.so"),
        ("{option: []}", "'option' is neither 'optional' nor a soname"),
    ],
)
def test_a_mistake_in_system_libraries_names_its_key(
    tmp_path: Path, value: str, named: str
) -> None:
    assert named in message(tmp_path, HEAD + f"system-libraries: {value}\n")


@pytest.mark.parametrize("value", ["all", "[libx.so]", "{}", "{optional: libx.so}", "{option: []}"])
def test_other_system_libraries_are_told_with_their_line(tmp_path: Path, value: str) -> None:
    text = message(tmp_path, HEAD + f"system-libraries: {value}\n")
    assert text.startswith("r.yaml:4: ")
    assert "system-libraries" in text
