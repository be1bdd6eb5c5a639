"""What a recipe may say: values, and their defaults."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from tests.support.recipes import load, minimal, schema


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
            "exclude": [],
            "override": [],
            "constraints": [],
        },
        "build": {
            "from-source": [],
            "constraints": [],
            "environment": {},
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
            "programs": True,
            "metadata": True,
            "symbols": True,
            "duplicates": True,
            "spacy-languages": None,
            "runtime-provided": False,
            "keep": [],
        },
        "native": {
            "store": "auto",
            "keep-plain": [],
            "touched": "auto",
            "data": "auto",
            "level": 16,
            "bind": True,
        },
        "cpu": {"x86_64": [], "arm64": []},
        "mxnet": {"wrappers": True, "operators": "all", "training": True},
        "verify": {
            "tolerance": 0.0,
            "ignore": [],
            "required": False,
            "timeout": 120.0,
            "memory": [],
            "network": False,
        },
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


def test_system_libraries_name_files_and_wheels_by_soname(tmp_path: Path) -> None:
    more = "system-libraries: {libx.so.1: libs/x.so, liby.so: y==1.0, optional: [libz.so]}\n"
    recipe = load(tmp_path, more=more + "assets: [{name: a, wheel: b==2.0}]")
    assert recipe.bundles_libraries
    assert recipe.library_sources == {"libx.so.1": "libs/x.so", "liby.so": "y==1.0"}
    assert recipe.optional_libraries == {"libz.so"}
    assert recipe.extra_wheels == ("b==2.0", "y==1.0")
    jsonschema.validate(yaml.safe_load((tmp_path / "recipe.yaml").read_text()), schema())


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


def test_paths_into_answers_may_be_written_as_messages_show_them(tmp_path: Path) -> None:
    more = "verify: {ignore: ['results[*].id', '[0].x', took_ms]}"
    assert load(tmp_path, more=more).verify.ignore == ("results.*.id", "0.x", "took_ms")
    for wrong in ("a..b", "", "a."):
        with pytest.raises(RecipeError, match="ignore"):
            load(tmp_path, more=f"verify: {{ignore: ['{wrong}']}}")


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).name = "other"
