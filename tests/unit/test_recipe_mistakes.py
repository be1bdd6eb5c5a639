"""What a recipe's author gets wrong: every mistake at once, by line and key, in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layerpack import recipe_mistakes
from layerpack.errors import RecipeError
from layerpack.recipe import Recipe
from tests.support.recipes import load, minimal, recipe_file

HEAD = "name: x\nruntime: python3.12\nrequirements: [numpy]\n"
#: What only someone who knows pydantic or regular expressions can read.
RAW = re.compile(r"\[\\w|\^\[|\\d|\{1,64\}|string should match|literal\[|Input should|model_type")


def message(folder: Path, text: str) -> str:
    """What is wrong with the recipe, without the folder's name."""
    path = recipe_file(folder, text, "r.yaml")
    for name in ("a", "a.py", "b", "c", "x"):
        (folder / name).touch()
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert caught.value.exit_code == 4
    told = str(caught.value).replace(f"{folder}/", "")
    assert not RAW.search(told), told
    return told


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("constraints: [numpy<2]", ["build.constraints"]),
        ("from-source: [numpy]", ["build.from-source"]),
        ("constraint: [numpy<2]", ["build.constraints"]),
        ("keep: [numpy]", ["strip.keep"]),
        ("handler: app.handler", ["function.handler"]),
        ("index-url: https://example.org", ["resolve.index-url"]),
        ("exclude-newer: 2026-01-01", ["resolve.exclude-newer"]),
        ("requires: [numpy]", ["requirements"]),
        ("packages: [numpy]", ["requirements"]),
        ("dependencies: [numpy]", ["requirements"]),
        ("dependancies: [numpy]", ["requirements"]),
        ("pakages: [numpy]", ["requirements"]),
        ("function: {source: x, varables: {A: b}}", ["'environment'"]),
        ("function: {source: x, enviroment: {A: b}}", ["'environment'"]),
        ("python: '3.12'", ["runtime"]),
        ("arch: arm64", ["architecture"]),
        ("Architecture: arm64", ["architecture"]),
        ("env: {A: b}", ["function.environment"]),
        ("events: []", ["workloads"]),
        ("tests: []", ["workloads"]),
        ("models: []", ["assets"]),
        ("function: {source: x, env: {A: b}}", ["'environment'"]),
        ("function: {src: x}", ["'source'"]),
        ("strip: {test: false}", ["'tests'"]),
        ("native: {keep: [a]}", ["strip.keep"]),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_by_meaning(
    tmp_path: Path, key: str, names: list[str]
) -> None:
    text = message(tmp_path, HEAD + key + "\n")
    assert text.startswith("r.yaml:4: unknown key '")
    assert "Did you mean" in text
    for name in names:
        assert name in text
    assert "'strip'" not in text


@pytest.mark.parametrize("key", ["files", "filess", "modells"])
def test_a_synonym_of_the_section_that_it_stands_in_is_no_suggestion(
    tmp_path: Path, key: str
) -> None:
    text = message(tmp_path, HEAD + f"assets: [{{name: a, file: a, {key}: [b]}}]\n")
    assert "'assets'" not in text


def test_a_key_like_no_other_lists_those_there_are(tmp_path: Path) -> None:
    text = message(tmp_path, HEAD + "zzz: 1\n")
    assert "Did you mean" not in text
    assert "system-libraries" in text


def keys() -> set[str]:
    """Every key of the recipe, dotted."""
    return {".".join(path) for path in recipe_mistakes.all_keys(Recipe)}


def test_every_synonym_names_a_key() -> None:
    known = keys()
    assert {"resolve.index-url", "function.handler", "patches.replace.with"} <= known
    for names in recipe_mistakes.SYNONYMS.values():
        assert set(names) <= known


@pytest.mark.parametrize(
    ("runtime", "meant"),
    [
        ("3.12", "python3.12"),
        ("'3.12'", "python3.12"),
        ("3.9", "python3.9"),
        ("3.1", "python3.10"),
        ("python312", "python3.12"),
        ("py312", "python3.12"),
        ("cp311", "python3.11"),
        ("Python 3.13", "python3.13"),
        ("python-3.12", "python3.12"),
        ("python3.12.1", "python3.12"),
        ("pyton3.12", "python3.12"),
    ],
)
def test_a_runtime_is_suggested_from_its_version(tmp_path: Path, runtime: str, meant: str) -> None:
    text = message(tmp_path, f"name: x\nruntime: {runtime}\nrequirements: [numpy]\n")
    assert text.startswith("r.yaml:2: runtime: ")
    assert f"Did you mean '{meant}'?" in text
    assert "float" not in text


@pytest.mark.parametrize(
    ("written", "architecture"),
    [
        *((name, "arm64") for name in ("arm64", "aarch64", "ARM64", "armv8")),
        *((name, "x86_64") for name in ("x86_64", "amd64", "x86-64", "AMD64", "x64")),
    ],
)
def test_common_names_of_architectures_are_understood(
    tmp_path: Path, written: str, architecture: str
) -> None:
    assert load(tmp_path, more=f"architecture: {written}").architecture == architecture


def test_an_architecture_that_lambda_lacks_is_told_with_those_there_are(tmp_path: Path) -> None:
    text = message(tmp_path, HEAD + "architecture: riscv64\n")
    assert "'x86_64'" in text
    assert "'arm64'" in text


@pytest.mark.parametrize(
    ("more", "key", "example"),
    [
        ("function: {source: x, handler: app}", "function.handler", "app.handler"),
        ("function: {source: x, handler: 'app:handler'}", "function.handler", "app.handler"),
        ("build: {image: 'A B'}", "build.image", "public.ecr.aws/"),
        ("build: {system-packages: ['lz4 devel']}", "build.system-packages[0]", "lz4-devel"),
        ("resolve: {exclude-newer: soon}", "resolve.exclude-newer", "2026-"),
        ("mxnet: {operators: ['a b']}", "mxnet.operators[0]", "FullyConnected"),
    ],
)
def test_a_text_of_another_form_is_told_with_an_example(
    tmp_path: Path, more: str, key: str, example: str
) -> None:
    text = message(tmp_path, HEAD + more + "\n")
    assert text.startswith(f"r.yaml:4: {key}: ")
    assert example in text


def test_a_date_needs_no_quotes(tmp_path: Path) -> None:
    recipe = load(tmp_path, more="resolve: {exclude-newer: 2026-01-31}")
    assert recipe.resolve.exclude_newer == "2026-01-31"


def test_all_mistakes_are_told_at_once_in_their_order(tmp_path: Path) -> None:
    text = message(
        tmp_path,
        "name: a b\n"
        "runtime: 3.12\n"
        "requirments: [numpy]\n"
        "strip:\n"
        "  tests: maybe\n"
        "layers: {max: 9}\n"
        "system-libraries: {optional: libx.so}\n"
        "workloads: [{name: one}]\n",
    )
    lines = [line for line in text.splitlines() if line.startswith("r.yaml:")]
    assert [line.split(": ")[0:2] for line in lines] == [
        ["r.yaml", "7 mistakes"],
        ["r.yaml:1", "name"],
        ["r.yaml:2", "runtime"],
        ["r.yaml:3", "unknown key 'requirments'"],
        ["r.yaml:5", "strip.tests"],
        ["r.yaml:6", "layers.max"],
        ["r.yaml:7", "system-libraries.optional"],
        ["r.yaml:8", "the key 'workloads[0].event' is missing"],
    ]
    # What the misspelt key leaves missing is no further mistake.
    assert "the key 'requirements' is missing" not in text


def test_many_mistakes_are_cut(tmp_path: Path) -> None:
    names = "".join(f"  - name: a b {number}\n    file: x\n" for number in range(500))
    text = message(tmp_path, HEAD + "assets:\n" + names)
    assert text.startswith("r.yaml: 500 mistakes")
    assert len(text.splitlines()) < 50


@pytest.mark.parametrize(
    ("more", "line", "key"),
    [
        ("assets:\n- {name: a, file: b}\n- {name: a, file: c}\n", 6, "assets[1].name"),
        ("description: a\nworkloads: [{name: a, event: b}]\n", 5, "workloads"),
        ("strip: {}\nmxnet:\n  operators: recorded\n", 6, "mxnet.operators"),
    ],
)
def test_keys_that_contradict_are_told_at_their_line(
    tmp_path: Path, more: str, line: int, key: str
) -> None:
    assert message(tmp_path, HEAD + more).startswith(f"r.yaml:{line}: {key}: ")


def test_crlf_and_names_of_any_language_are_no_mistake(tmp_path: Path) -> None:
    path = minimal(tmp_path, more="description: Größe 模型\n")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Recipe.load(path).description == "Größe 模型"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("strip:\n\ttests: true", ["r.yaml:5", "spaces"]),
        ("strip: {<<: {tests: true}}", ["r.yaml:4", "<<"]),
        ("strip: {keep: [*.so]}", ["r.yaml:4", "*", "quotes"]),
        ("description: @alpha", ["r.yaml:4", "'@'", "quotes"]),
        ("description: a: b", ["r.yaml:4", "quotes"]),
        ("description: a\0b", ["r.yaml:4", "U+0000"]),
        ("on: true", ["r.yaml:4", "true", "quotes"]),
        ("strip: {symbols: 'no'}", ["strip.symbols", "true or false", "without quotes"]),
        ("strip: [tests]", ["strip", "a mapping", "docs"]),
        ("function: src", ["function", "a mapping", "source", "handler"]),
        ("build:", ["build", "nothing", "from-source"]),
        ("passes: own.py:Own", ["passes", "['own.py:Own']"]),
        ("function: {source: src, include: '*.pem'}", ["function.include", "['*.pem']"]),
        ("function: {source: src, include: ['!']}", ["function.include[0]", ".gitignore", "'!'"]),
        ("function: {source: src, handler: app.py}", ["function.handler", "app.handler"]),
        ("function: {source: src, environment: {A1: 4}}", ["environment.A1", "4", "quotes"]),
        (
            'function: {source: src, environment: {A1: "a\\0b", AWS_ACCESS_KEY_ID: x}}',
            ["3 mistakes", "environment.A1", "NUL", "reserves the variable AWS_ACCESS_KEY_ID"],
        ),
        ('build: {environment: {A1: "a\\0b"}}', ["build.environment.A1", "NUL"]),
        # As JSON, where é has two bytes: {"A1":"...","A2":"..."}.
        (
            f"function: {{source: src, environment: {{A1: {'é' * 2000}, A2: {'b' * 80}}}}}",
            ["function.environment: ", "4,097 bytes", "4,096", "function.source"],
        ),
        ("function:", ["r.yaml:4: function: expected a value, got nothing", "remove the key"]),
        ("resolve: {index-url: }", ["resolve.index-url: expected a value, got nothing"]),
        ("build: {image: }", ["build.image: expected a value, got nothing"]),
        ("~: x", ["r.yaml:4:1", "a key is empty"]),
        ("strip: {'': x}", ["r.yaml:4:9", "a key is empty"]),
        (
            "function: {source: a}\nworkloads: [{name: a, event: b}, {name: a, event: c}]",
            ["r.yaml:5: workloads[1].name: two workloads are named 'a'"],
        ),
        ("workloads: [event.json]", ["workloads[0]", "a mapping", "event"]),
        ("assets: [{name: a/b, file: x}]", ["assets[0].name", "'a-b'"]),
        ("assets: [{name: a, file: ~/x}]", ["assets[0].file", "~/x", "project"]),
        ("cpu: {amd64: [avx2]}", ["cpu.amd64", "'x86_64'"]),
        ("build: {from-source: ['a==1']}", ["build.from-source[0]", "'a==1'"]),
        ("resolve: {exclude-newer: '2026-13-45'}", ["resolve.exclude-newer", "2026-13-45"]),
        (
            "resolve: {exclude: [pillow, NumPy]}",
            ["r.yaml:4: resolve.exclude[1]: 'numpy'", "own requirements", "Remove it"],
        ),
        ("system-libraries: true", ["system-libraries", "'auto'", "'none'", "a mapping"]),
    ],
)
def test_a_users_mistake_is_told_with_what_to_write(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    told = message(tmp_path, HEAD + text + "\n")
    for name in names:
        assert name in told


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy=1.26", "'numpy==1.26'"),
        ("numpy=1.26=py310_0", "'numpy==1.26'"),
        ("numpy^1.26", "'numpy~=1.26'"),
        ("numpy # fast", "comment"),
        ("numpy --hash=sha256:aa", "lock"),
        ("-r requirements.txt", "pip"),
        ("-e .", "pip"),
        ("./package", "find-links"),
        ("https://example.org/a-1.0-py3-none-any.whl", "find-links"),
        ("a @ https://example.org/a-1.0-py3-none-any.whl", "find-links"),
        ("git+https://example.org/a", "find-links"),
        ("requirements.txt", "file"),
        ("python>=3.11", "runtime"),
        ("num py", "num py"),
        ("", "''"),
    ],
)
def test_what_is_no_requirement_is_told_by_itself(
    tmp_path: Path, requirement: str, name: str
) -> None:
    told = message(tmp_path, f"name: x\nruntime: python3.12\nrequirements: ['{requirement}']\n")
    assert told.startswith("r.yaml:3: requirements[0]: ")
    assert name in told


@pytest.mark.parametrize("requirement", ["python-dateutil", "Python_Json_Logger>=2", "toml", "in"])
def test_names_like_those_are_requirements(tmp_path: Path, requirement: str) -> None:
    assert load(tmp_path, requirements=[requirement]).requirements == (requirement,)


def test_no_form_of_a_text_is_without_words() -> None:
    for name in ("recipe.py", "recipe_values.py"):
        text = Path(recipe_mistakes.__file__).with_name(name).read_text()
        assert "Field(pattern=" not in text
        assert "pattern=r" not in text


def test_absent_files_are_told_with_the_other_mistakes(tmp_path: Path) -> None:
    (tmp_path / "model.txt").touch()
    more = (
        "assets: [{name: m, file: modle.txt}, {name: m, file: a}]\n"
        "function: {source: src, handler: app.handler, budget: -1}\n"
        "passes: [shrink_models.py:Own, bad]\n"
        "system-libraries: {libx.so.1: gone.whl, liby.so.1: y==1}\n"
    )
    assert message(tmp_path, HEAD + more) == (
        "r.yaml: 6 mistakes\n"
        "r.yaml:4: assets[0].file: modle.txt does not exist\n"
        "  Did you mean model.txt?\n"
        "r.yaml:5: function.budget: expected more than 0, got -1\n"
        "r.yaml:5: function.source: src does not exist\n"
        "r.yaml:6: passes[1]: 'bad' does not name a pass; write file.py:ClassName\n"
        "r.yaml:6: passes[0]: shrink_models.py does not exist\n"
        "r.yaml:7: system-libraries.libx.so.1: gone.whl does not exist"
    )


def test_absent_files_hide_no_mistake_of_the_whole(tmp_path: Path) -> None:
    more = "workloads: [{name: a, event: gone}]\n"
    assert message(tmp_path, HEAD + more) == (
        "r.yaml: 2 mistakes\n"
        "r.yaml:4: workloads: there is no 'function' to run them\n"
        "r.yaml:4: workloads[0].event: gone does not exist"
    )
