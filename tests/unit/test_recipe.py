"""Recipes: what is valid, its defaults, one clear error for all else, and the editors' schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from layerpack import data
from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from tests.support.recipes import load, minimal, recipe_file

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
HEAD = "name: x\nruntime: python3.12\nrequirements: [numpy]\n"
ALL_KEYS = (
    "name, description, runtime, architecture, requirements, resolve, build, system-libraries, "
    "patches, assets, function, workloads, strip, native, cpu, mxnet, verify, passes, layers"
)
RUNTIMES = "python3.9, python3.10, python3.11, python3.12, python3.13, python3.14"


def message(folder: Path, text: str) -> str:
    """What is wrong with the recipe, without the folder's name."""
    path = recipe_file(folder, text, "r.yaml")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            HEAD + "requirement: [a]\n",
            "r.yaml:4: unknown key 'requirement'\n"
            f"Did you mean 'requirements'? Expected one of: {ALL_KEYS}",
            id="top",
        ),
        pytest.param(
            HEAD + "zzz: 1\n",
            f"r.yaml:4: unknown key 'zzz'\nExpected one of: {ALL_KEYS}",
            id="like no other",
        ),
        pytest.param(
            HEAD + "system_libraries: auto\n",
            "r.yaml:4: unknown key 'system_libraries'\n"
            f"Did you mean 'system-libraries'? Expected one of: {ALL_KEYS}",
            id="underscore",
        ),
        pytest.param(
            HEAD + "strip:\n  docs: true\n  test: true\n",
            "r.yaml:6: unknown key 'strip.test'\nDid you mean 'tests'? Expected one of: tests, "
            "docs, bytecode, sources, metadata, symbols, duplicates, spacy-languages, "
            "runtime-provided, keep",
            id="below",
        ),
        pytest.param(
            HEAD + "assets:\n  - name: a\n    file: b\n  - name: c\n    whel: b==1\n",
            "r.yaml:8: unknown key 'assets[1].whel'\n"
            "Did you mean 'wheel'? Expected one of: name, wheel, file, url, sha256, prepare",
            id="in a list's item",
        ),
        pytest.param(
            HEAD + "patches:\n  - package: a\n    replace: {patern: x, with: y}\n",
            "r.yaml:6: unknown key 'patches[0].replace.patern'\n"
            "Did you mean 'pattern'? Expected one of: pattern, with, count",
            id="below a list's item",
        ),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_and_all_valid_ones(
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
            "r.yaml:4: strip.tests: input should be a valid boolean, got 'yes'",
            id="text for a switch",
        ),
        pytest.param(
            "name: x\nruntime: 3.12\nrequirements: [numpy]\n",
            "r.yaml:2: runtime: input should be a valid string, got 3.12\n"
            "YAML read a float here: write it in quotes if it is meant as text.",
            id="number for text",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements:\n  - numpy\n  - 3.10\n",
            "r.yaml:5: requirements[1]: input should be a valid string, got 3.1\n"
            "YAML read a float here: write it in quotes if it is meant as text.",
            id="number for text in a list",
        ),
        pytest.param(
            "name: no\nruntime: python3.12\nrequirements: [numpy]\n",
            "r.yaml:1: name: input should be a valid string, got False\n"
            "YAML read a bool here: write it in quotes if it is meant as text.",
            id="no is a switch",
        ),
        pytest.param(
            HEAD + "resolve: {exclude-newer: 2024-01-01}\n",
            "r.yaml:4: resolve.exclude-newer: input should be a valid string, "
            "got datetime.date(2024, 1, 1)\n"
            "YAML read a date here: write it in quotes if it is meant as text.",
            id="date for text",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements: numpy\n",
            "r.yaml:3: requirements: expected a list, got 'numpy'",
            id="text for a list",
        ),
        pytest.param(
            "name: x\nruntime: python3.12\nrequirements: []\n",
            "r.yaml:3: requirements: expected at least one item, got []",
            id="empty list",
        ),
        pytest.param(
            HEAD + "layers:\n", "r.yaml:4: layers: expected a mapping, got nothing", id="nothing"
        ),
        pytest.param(
            HEAD + "strip: true\n", "r.yaml:4: strip: expected a mapping, got True", id="no mapping"
        ),
        pytest.param(
            HEAD + "layers: {max: '3'}\n",
            "r.yaml:4: layers.max: input should be a valid integer, got '3'",
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
    assert message(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "name: x\nruntime: pyton3.12\nrequirements: [numpy]\n",
            f"r.yaml:2: runtime: unknown runtime 'pyton3.12'; known are {RUNTIMES}\n"
            "Did you mean 'python3.12'?",
            id="runtime",
        ),
        pytest.param(
            "name: x\nruntime: node20\nrequirements: [numpy]\n",
            f"r.yaml:2: runtime: unknown runtime 'node20'; known are {RUNTIMES}",
            id="foreign runtime",
        ),
        pytest.param(
            HEAD + "architecture: x86-64\n",
            "r.yaml:4: architecture: input should be 'x86_64' or 'arm64', got 'x86-64'\n"
            "Did you mean 'x86_64'?",
            id="architecture",
        ),
        pytest.param(
            HEAD + "strip: {bytecode: unchecked}\n",
            "r.yaml:4: strip.bytecode: input should be 'auto', 'none' or 'unchecked-hash', "
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
            "r.yaml:4: build.constraints[0]: 'cython @ https://example.org/c.whl' names a URL; "
            "a requirement is a name and versions",
            id="requirement by URL",
        ),
        pytest.param(
            "name: a b\nruntime: python3.12\nrequirements: [numpy]\n",
            "r.yaml:1: name: 'a b' is not a layer name: letters, digits, '-' and '_', at most 64",
            id="name",
        ),
        pytest.param(
            'name: "ab\\n"\nruntime: python3.12\nrequirements: [numpy]\n',
            "r.yaml:1: name: 'ab\n' is not a layer name: letters, digits, '-' and '_', at most 64",
            id="name with a line break",
        ),
        pytest.param(
            HEAD + "function:\n  source: ../x\n",
            "r.yaml:5: function.source: '../x' must lie below the recipe's folder",
            id="path that leads out",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, file: /etc/passwd}]\n",
            "r.yaml:4: assets[0].file: '/etc/passwd' must lie below the recipe's folder",
            id="absolute path",
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
            HEAD + "passes: ['../own.py:Own']\n",
            "r.yaml:4: passes[0]: '../own.py' must lie below the recipe's folder",
            id="pass outside",
        ),
        pytest.param(
            HEAD + "assets: [{name: a, file: x, sha256: abc}]\n",
            "r.yaml:4: assets[0].sha256: a SHA-256 has 64 hexadecimal digits",
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
            "r.yaml:4: layers.max: input should be greater than or equal to 1, got 0",
            id="no layers",
        ),
        pytest.param(
            HEAD + "native: {store: page}\n",
            "r.yaml:4: native.store: input should be 'auto', 'paged' or 'plain', got 'page'\n"
            "Did you mean 'paged'?",
            id="store",
        ),
        pytest.param(
            HEAD + "native:\n  store: paged\n  level: 23\n",
            "r.yaml:6: native.level: input should be less than or equal to 22, got 23",
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
            "r.yaml:4: function.budget: input should be greater than 0, got -1",
            id="negative size",
        ),
        pytest.param(
            HEAD + "function: {source: x, handler: app}\n",
            "r.yaml:4: function.handler: string should match pattern '^[\\w./]+\\.\\w+$', "
            "got 'app'",
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
            "r.yaml:1: recipe: two assets are named 'a'",
            id="two of one name",
        ),
        pytest.param(
            HEAD + "workloads: [{name: a, event: b}]\n",
            "r.yaml:1: recipe: workloads need a 'function' to run",
            id="workload without a function",
        ),
    ],
)
def test_a_bad_value_is_told_with_line_key_and_expectation(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert message(tmp_path, text) == expected


def test_a_misspelt_key_is_told_before_the_one_that_it_leaves_missing(tmp_path: Path) -> None:
    text = message(tmp_path, "name: x\nruntime: python3.12\nrequirments: [numpy]\n")
    assert text.startswith("r.yaml:3: unknown key 'requirments'\nDid you mean 'requirements'?")


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    text = message(tmp_path, HEAD + f"strip: {{tests: {'y' * 5000}}}\n")
    assert len(text) < 150
    assert text.endswith("...")


def test_the_minimal_recipe_is_name_runtime_and_requirements(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert recipe.model_dump(mode="json", by_alias=True) == {
        "name": "small",
        "description": "",
        "runtime": "python3.12",
        "architecture": "x86_64",
        "requirements": ["alpha"],
        "resolve": {
            "tool": "uv",
            "index-url": None,
            "extra-index-urls": [],
            "find-links": [],
            "exclude-newer": None,
        },
        "build": {
            "from-source": [],
            "constraints": [],
            "image": None,
            "system-packages": [],
        },
        "system-libraries": "auto",
        "patches": [],
        "assets": [],
        "function": None,
        "workloads": [],
        "strip": {
            "tests": True,
            "docs": True,
            "bytecode": "auto",
            "sources": True,
            "metadata": True,
            "symbols": True,
            "duplicates": True,
            "spacy-languages": None,
            "runtime-provided": False,
            "keep": [],
        },
        "native": {"store": "auto", "keep-plain": [], "level": 16, "bind": True},
        "cpu": {"x86_64": [], "arm64": []},
        "mxnet": {"wrappers": True, "operators": "all", "training": True},
        "verify": {"tolerance": 0.0, "timeout": 120.0, "memory": []},
        "passes": [],
        "layers": {"max": 5, "direct-upload": True},
    }


def test_paths_follow_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.load(minimal(tmp_path, name="deep/bert.yaml"))
    assert recipe.path == tmp_path / "deep/bert.yaml"
    assert recipe.folder == tmp_path / "deep"
    assert recipe.lock_path == tmp_path / "deep/bert.lock"
    assert recipe.profile.glibc == (2, 34)


@pytest.mark.parametrize(
    ("value", "bundles", "optional"),
    [
        ("auto", True, frozenset()),
        ("none", False, frozenset()),
        ("{optional: []}", True, frozenset()),
        ("{optional: [libtbb.so.12, libomp.so]}", True, frozenset({"libtbb.so.12", "libomp.so"})),
    ],
)
def test_system_libraries_are_bundled_and_may_be_optional(
    tmp_path: Path, value: str, bundles: bool, optional: frozenset[str]
) -> None:
    recipe = load(tmp_path, more=f"system-libraries: {value}")
    assert (recipe.bundles_libraries, recipe.optional_libraries) == (bundles, optional)
    jsonschema.validate(yaml.safe_load((tmp_path / "recipe.yaml").read_text()), schema())


@pytest.mark.parametrize("value", ["all", "[libx.so]", "{}", "{optional: libx.so}", "{option: []}"])
def test_other_system_libraries_are_told_with_their_line(tmp_path: Path, value: str) -> None:
    text = message(tmp_path, HEAD + f"system-libraries: {value}\n")
    assert text.startswith("r.yaml:4: system-libraries") or text.startswith("r.yaml:4: unknown key")


def test_sizes_and_names_are_normalised(tmp_path: Path) -> None:
    more = """\
        build: {from-source: [Gluon_NLP]}
        function: {source: code, budget: 2MB}
        assets: [{name: a, file: x, sha256: HASH}]
        """
    recipe = load(tmp_path, more=more.replace("HASH", "ABCDEF" * 10 + "ABCD"))
    assert recipe.build.from_source == ("gluon-nlp",)
    assert recipe.function is not None
    assert recipe.function.budget == 2 * 2**20
    assert recipe.assets[0].sha256 == "abcdef" * 10 + "abcd"


def test_index_options_are_those_of_pip(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    more = """\
        resolve:
          index-url: https://example.org/simple
          extra-index-urls: [https://example.net/simple]
          find-links: [wheels, https://example.com/links.html]
        """
    assert load(tmp_path, more=more).index_options == [
        *("--index-url", "https://example.org/simple"),
        *("--extra-index-url", "https://example.net/simple"),
        *("--find-links", str(tmp_path / "wheels")),
        *("--find-links", "https://example.com/links.html"),
    ]


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).name = "other"


def schema() -> Any:
    """The schema that ships."""
    return json.loads(data.text("recipe.schema.json"))


def schema_of_the_model() -> str:
    """The schema as it must ship."""
    made = Recipe.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "layerpack recipe"
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_schema_that_ships_is_that_of_the_model() -> None:
    assert data.text("recipe.schema.json") == schema_of_the_model(), (
        "the model changed; write its schema with: python -m tests.unit.test_recipe"
    )


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.name))
def test_the_schema_and_the_model_accept_the_recipes(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())
    assert Recipe.load(path).name == path.stem


@pytest.mark.parametrize(
    "more",
    [
        "requirement: [a]",
        "strip: {test: true}",
        "native: {keep: [a]}",
        "native: {level: 0}",
        "assets: [{name: a, whel: b==1}]",
        "patches: [{package: a, replace: {patern: x, with: y}}]",
        "system_libraries: auto",
        "architecture: amd64",
        "layers: {max: three}",
        "system-libraries: {optional: libx.so}",
    ],
)
def test_the_schema_rejects_what_the_model_rejects(tmp_path: Path, more: str) -> None:
    path = minimal(tmp_path, more=more)
    with pytest.raises(RecipeError):
        Recipe.load(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema())


if __name__ == "__main__":
    (ROOT / "layerpack/data/recipe.schema.json").write_text(schema_of_the_model(), encoding="utf-8")
