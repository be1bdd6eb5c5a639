"""A build's local inputs: the function's files, what must be there, and the build's key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.inputs import build_key, function_entries
from layerpack.lock import Lock
from layerpack.recipe import Recipe
from tests.support.recipes import load, minimal

FUNCTION = "function: {source: code, handler: app.handler}\n"


def write(folder: Path, files: dict[str, str]) -> None:
    """Files with their text below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def refusal(folder: Path, more: str) -> str:
    """Why the recipe's local files are refused, without the folder's name."""
    with pytest.raises(RecipeError) as caught:
        function_entries(load(folder, more=more))
    return str(caught.value).replace(f"{folder}/", "")


def test_the_functions_files_are_relative_to_its_folder(tmp_path: Path) -> None:
    write(
        tmp_path / "code",
        {
            "app.py": "def handler(): ...",
            "deep/more.py": "",
            "run.sh": "",
            "__pycache__/app.cpython-312.pyc": "",
            "stray.pyc": "",
            ".git/config": "",
            ".DS_Store": "",
            ".mypy_cache/x.json": "",
        },
    )
    (tmp_path / "code/run.sh").chmod(0o700)
    entries = function_entries(load(tmp_path, more=FUNCTION))
    assert entries is not None
    assert [(entry.path, entry.mode) for entry in entries] == [
        ("app.py", 0o644),
        ("deep/more.py", 0o644),
        ("run.sh", 0o755),
    ]


def test_there_may_be_no_function(tmp_path: Path) -> None:
    assert function_entries(load(tmp_path)) is None


@pytest.mark.parametrize(
    ("handler", "file"),
    [
        ("app.handler", "app.py"),
        ("pkg/app.handler", "pkg/app.py"),
        ("pkg.app.f", "pkg/app.py"),
        ("pkg.handler", "pkg/__init__.py"),
    ],
)
def test_a_handlers_module_is_found(tmp_path: Path, handler: str, file: str) -> None:
    write(tmp_path / "code", {file: f"def {handler.rpartition('.')[2]}(event, context): ...\n"})
    more = f"function: {{source: code, handler: {handler}}}"
    assert function_entries(load(tmp_path, more=more)) is not None


def test_a_handler_that_is_not_there_is_told(tmp_path: Path) -> None:
    write(tmp_path / "code", {"main.py": ""})
    assert refusal(tmp_path, FUNCTION) == (
        "recipe.yaml: function.handler: 'app.handler' needs app.py in code, the "
        "function.source, which is not there"
    )


@pytest.mark.parametrize(
    ("handler", "meant"),
    [
        ("src/app.handler", "app.handler"),
        ("main.handler", "pkg.main.handler"),
        ("ap.handler", "app.handler"),
        ("app.lambda_handler", "app.handler"),
    ],
)
def test_the_nearest_handler_is_suggested(tmp_path: Path, handler: str, meant: str) -> None:
    code = "def handler(event, context): ...\n"
    write(tmp_path / "code", {"app.py": code, "pkg/main.py": code})
    told = refusal(tmp_path, f"function: {{source: code, handler: {handler}}}")
    assert told.endswith(f"Did you mean '{meant}'?")


@pytest.mark.parametrize("text", ["", "def handlers(): ...\n", "my_handler = None\n"])
def test_a_handler_that_its_module_does_not_name_is_told(tmp_path: Path, text: str) -> None:
    write(tmp_path / "code", {"app.py": text})
    assert refusal(tmp_path, FUNCTION).startswith(
        "recipe.yaml: function.handler: 'app.handler': code/app.py names no 'handler'"
    )


@pytest.mark.parametrize(
    "text", ["from core import handler\n", "async def handler(): ...\n", "handler = make()\n"]
)
def test_a_module_may_come_by_its_handler_in_any_way(tmp_path: Path, text: str) -> None:
    write(tmp_path / "code", {"app.py": text})
    assert function_entries(load(tmp_path, more=FUNCTION)) is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"\xff", "'utf-8' codec"),
        ("{}".encode("utf-16"), "'utf-8' codec"),
        (b"[1, NaN]", "NaN"),
        (b"[" * 100_000, "recursion"),
        (b'"' + b"x" * 6_291_455 + b'"', "6,291,457 bytes"),
    ],
    ids=["open", "empty", "no text", "utf-16", "nan", "nested", "over 6 MB"],
)
def test_an_event_that_lambda_refuses_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    write(tmp_path, {"code/app.py": "handler = None"})
    (tmp_path / "event.json").write_bytes(data)
    text = refusal(tmp_path, FUNCTION + "workloads: [{name: embed, event: event.json}]")
    assert text.startswith("recipe.yaml: workloads.embed.event: event.json ")
    assert reason in text


def test_an_event_of_6_mb_is_taken(tmp_path: Path) -> None:
    write(tmp_path, {"code/app.py": "handler = None"})
    (tmp_path / "event.json").write_bytes(b'"' + b"x" * 6_291_454 + b'"')
    more = FUNCTION + "workloads: [{name: embed, event: event.json}]"
    assert function_entries(load(tmp_path, more=more)) is not None


def test_a_source_that_is_no_folder_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"code": "a file"})
    assert refusal(tmp_path, FUNCTION) == (
        "recipe.yaml: function.source: code is not a folder\n"
        "Name the folder with the function's code, relative to the recipe."
    )


def test_a_dead_link_is_told(tmp_path: Path) -> None:
    write(tmp_path / "code", {"app.py": "handler = None"})
    (tmp_path / "code/model.bin").symlink_to("nowhere")
    assert refusal(tmp_path, FUNCTION) == (
        "recipe.yaml: function.source: code: model.bin is a link to a folder, or a dead one\n"
        "Put a copy of the file in the link's place, or leave it out with function.exclude."
    )


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"code/app.py": "def handler(): ...", "shared/util.py": "shared = 1\n"})
    # Left out without a word, its files would be missed on Lambda only.
    (tmp_path / "code/shared").symlink_to("../shared")
    assert "code: shared is a link to a folder, or a dead one\n" in refusal(tmp_path, FUNCTION)


def test_an_assets_links_stay_in_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, {"models/a/weights.bin": "1", "blobs/b": "2", ".git/x": ""})
    (project / "models/a/vocabulary.txt").symlink_to("../../blobs/b")
    more = "assets: [{name: model, file: models}]"
    assert function_entries(load(project, more=more)) is None
    for target in ("/etc/hostname", tmp_path):
        (project / "models/a/host").symlink_to(target)
        told = refusal(project, more)
        assert "assets.model.file" in told
        assert "a/host" in told
        (project / "models/a/host").unlink()


def test_an_assets_secrets_are_told_before_anything_is_built(tmp_path: Path) -> None:
    write(tmp_path, {"model/weights.bin": "1", "model/.env": "KEY=1"})
    more = "assets: [{name: model, file: model}]"
    assert "recipe.yaml: assets.model.file: model: these files look" in refusal(tmp_path, more)


def test_an_assets_leftovers_count_for_nothing_in_the_key(tmp_path: Path) -> None:
    write(tmp_path, {"model/weights.bin": "1", "model/.git/index": "1"})
    more = "assets: [{name: model, file: model}]"
    before = key(tmp_path, more)
    write(tmp_path, {"model/.git/index": "2"})
    assert key(tmp_path, more) == before
    write(tmp_path, {"model/weights.bin": "2"})
    assert key(tmp_path, more) != before


def test_what_a_function_package_cannot_hold_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"code/app.py": "def handler(): ..."})
    os.mkfifo(tmp_path / "code/pipe")
    assert "code: pipe is neither a file nor a folder\n" in refusal(tmp_path, FUNCTION)
    (tmp_path / "code/pipe").unlink()
    (tmp_path / os.fsdecode(b"code/caf\xe9")).touch()
    assert "code: 'caf\\udce9' has a name that is not UTF-8\n" in refusal(tmp_path, FUNCTION)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "assets: [{name: model, file: model.bin}]",
            "recipe.yaml: assets.model.file: model.bin does not exist",
        ),
        (
            "assets: [{name: model, wheel: a==1, prepare: tools/convert.py}]",
            "recipe.yaml: assets.model.prepare: tools/convert.py does not exist",
        ),
        (
            FUNCTION + "workloads: [{name: embed, event: events/embed.json}]",
            "recipe.yaml: workloads.embed.event: events/embed.json does not exist",
        ),
    ],
)
def test_a_local_file_that_is_not_there_is_told(tmp_path: Path, more: str, expected: str) -> None:
    write(tmp_path, {"code/app.py": "handler = None"})
    assert refusal(tmp_path, more) == expected


def test_all_mistakes_of_the_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"code/main.py": "", "code/.env": "", "bad.json": "{", "own.py": "One = 1\n"})
    (tmp_path / "code/host").symlink_to("/etc/hostname")
    more = f"""\
{FUNCTION}
workloads: [{{name: a, event: gone.json}}, {{name: b, event: bad.json}}]
assets: [{{name: m, file: model.bin}}]
passes: [own.py:Two, gone.py:One, own.py:One]
"""
    told = refusal(tmp_path, more)
    assert told.startswith("recipe.yaml: 8 mistakes\n")
    for one in (
        "recipe.yaml: workloads.a.event: gone.json does not exist",
        "recipe.yaml: workloads.b.event: bad.json ",
        "recipe.yaml: assets.m.file: model.bin does not exist",
        "recipe.yaml: passes: own.py has no class 'Two'",
        "recipe.yaml: passes: gone.py does not exist",
        "recipe.yaml: function.source: code: host is a link",
        "recipe.yaml: function.source: code: these files look like secrets: .env",
        "recipe.yaml: function.handler: 'app.handler' needs app.py",
    ):
        assert f"\n{one}" in told
    # Advice that several have in common stands once.
    write(tmp_path, {"events/1.json": "{", "events/2.json": "{"})
    more = "workloads: [{name: a, event: events/1.json}, {name: b, event: events/2.json}]\n"
    assert refusal(tmp_path, FUNCTION + more).count("up to 6 MB") == 1


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    write(tmp_path, {"models/encoder.bin": "", "models/notes.txt": ""})
    assert refusal(tmp_path, "assets: [{name: model, file: models/encodr.bin}]") == (
        "recipe.yaml: assets.model.file: models/encodr.bin does not exist\n"
        "Did you mean models/encoder.bin?"
    )


MORE = """\
description: one
assets:
  - {name: model, file: data}
  - {name: made, prepare: tools/make.py}
function: {source: code}
workloads: [{name: embed, event: event.json}]
passes: [own.py:Own]
"""
FILES = {
    "data/one.bin": "1",
    "tools/make.py": "import helper",
    "tools/helper.py": "",
    "code/app.py": "",
    "event.json": "{}",
    "own.py": "",
}


def lock_of(recipe: Recipe, version: str = "1.0") -> Lock:
    """A lock with one pin."""
    return Lock.make(recipe, f"alpha=={version} --hash=sha256:{'a' * 64}\n", ())


def key(
    folder: Path,
    more: str = MORE,
    version: str = "1.0",
    compressor: str = "deflate 1",
    interpreter: bool = True,
) -> str:
    """The build's key."""
    recipe = Recipe.load(minimal(folder, more=more))
    lock = lock_of(recipe, version)
    return build_key(recipe, lock, compressor=compressor, interpreter=interpreter)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with all of a recipe's inputs."""
    write(tmp_path, FILES)
    return tmp_path


def test_equal_inputs_give_equal_keys_in_any_folder_on_any_day(
    inputs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write(other, FILES)
    for file in other.rglob("*"):
        os.utime(file, (0, 0))
    assert key(other) == key(inputs) == key(inputs)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file_changes_the_key(inputs: Path, name: str) -> None:
    before = key(inputs)
    (inputs / name).write_text(FILES[name] + " ")
    assert key(inputs) != before


@pytest.mark.parametrize("name", ["data/two.bin", "code/new.py", "tools/new.py"])
def test_a_new_file_changes_the_key(inputs: Path, name: str) -> None:
    before = key(inputs)
    (inputs / name).touch()
    assert key(inputs) != before


def test_a_changed_recipe_lock_or_tool_changes_the_key(inputs: Path) -> None:
    keys = {
        key(inputs),
        key(inputs, version="2.0"),
        key(inputs, more=MORE.replace("one", "two", 1)),
        key(inputs, more=MORE + "layers: {max: 4}\n"),
        key(inputs, compressor="deflate 2"),
        key(inputs, interpreter=False),
    }
    assert len(keys) == 6


def test_how_a_prepare_script_computes_is_in_the_key(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> tuple[str, str]:
        return key(inputs), key(inputs, more="description: no script\n")

    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    before = keys()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    after = keys()
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_leftovers_and_a_build_beside_the_script_do_not_count(inputs: Path) -> None:
    before = key(inputs)
    write(
        inputs,
        {
            "code/__pycache__/app.cpython-312.pyc": "x",
            "tools/build/small/layers/a.zip": "x",
            "recipe.lock": "x",
        },
    )
    assert key(inputs) == before
