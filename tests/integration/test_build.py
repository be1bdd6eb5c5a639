"""`layerpack build`, end to end, from an index on this machine to zips that others can read."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.command import Ended, layerpack, start
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_sdist, make_wheel, sha256

MORE = """\
description: a small stack
build: {from-source: [gamma]}
patches: [{package: alpha, replace: {pattern: old_name, with: new_name, count: 1}}]
assets:
  - {name: model, file: model.txt, prepare: tools/convert.py}
  - {name: words, wheel: words==1.0}
  - {name: letters, wheel: letters==1.0}
function: {source: code, handler: app.handler}
workloads: [{name: run, event: event.json}]
"""
TOOLS = ("sam", "cdk", "terraform", "serverless", "cloudformation")
HANDLER = """\
from pathlib import Path
import alpha, beta, gamma


def handler(event, context):
    model = Path(event["opt"], "assets/model/model.txt").read_text()
    return [alpha.value(), beta.VERSION, gamma.BUILT_WITH, model]
"""
CONVERT = """\
import sys
from pathlib import Path
import beta
text = Path(sys.argv[1], "model.txt").read_text().upper() + beta.VERSION
Path(sys.argv[2], "model.txt").write_text(text)
"""


def publish(folder: Path, index: LocalIndex) -> None:
    """alpha, which needs beta; gamma as source; two wheels for assets."""
    alpha = "from alpha.parts import new_name\n\n\ndef value():\n    return old_name\n"
    index.add(
        make_wheel(
            folder,
            "alpha",
            files={
                "alpha/__init__.py": alpha,
                "alpha/parts.py": "new_name = 'patched'\n",
                "alpha/tests/test_alpha.py": "def test(): ...\n",
                "alpha/noise.bin": random.Random(7).randbytes(200_000),
                "alpha-1.0.dist-info/licenses/LICENSE": "do what you like\n",
            },
            requires=["beta>=2"],
        ),
        make_wheel(folder, "beta", "2.1"),
        make_sdist(folder, "gamma"),
        make_wheel(folder, "words", files={"words.txt": "one two\n"}),
        make_wheel(folder, "letters", files={"letters.txt": "a b\n"}),
    )


def write_recipe(folder: Path, index: LocalIndex, more: str = MORE) -> Path:
    """The recipe with all that it names, in a folder."""
    for name, text in {
        "model.txt": "weights ",
        "tools/convert.py": CONVERT,
        "code/app.py": HANDLER,
        "event.json": "{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return minimal(
        folder, requirements=["alpha", "gamma"], runtime=HERE, index=index.url, more=more
    )


def built(
    folder: Path, cache: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> Ended:
    """A build that must succeed."""
    ended = layerpack("build", "recipe.yaml", *arguments, folder=folder, cache=cache, extra=extra)
    assert ended.code == 0, ended.errors
    return ended


def zips(folder: Path) -> dict[str, bytes]:
    """The bytes of every zip of the build."""
    home = folder / "build/small"
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*.zip")}


def state(*folders: Path) -> dict[str, tuple[int, int]]:
    """When each file below the folders was written, and its inode."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino)
        for folder in folders
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def project(tmp_path: Path, index: LocalIndex) -> Path:
    """A folder with a recipe and all that it needs."""
    publish(tmp_path / "w", index)
    write_recipe(tmp_path / "project", index)
    return tmp_path / "project"


def test_a_build_gives_layers_that_run_and_a_second_one_touches_nothing(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    cache = tmp_path / "cache"
    built(project, cache)
    home = project / "build/small"

    # Sound zips, as the manifest has them.
    manifest = json.loads((home / "manifest.json").read_text())
    opt, task = tmp_path / "opt", tmp_path / "task"
    for layer in manifest["layers"]:
        file = home / layer["file"]
        assert (layer["sha256"], layer["zipped_bytes"]) == (sha256(file), file.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            assert sum(one.file_size for one in archive.infolist()) == layer["unzipped_bytes"]
            assert archive.testzip() is None
            archive.extractall(opt)
    function = home / manifest["function"]["file"]
    assert manifest["function"]["sha256"] == sha256(function)
    with zipfile.ZipFile(function) as archive:
        archive.extractall(task)
    files = [file for folder in (opt, task) for file in folder.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    assert manifest["totals"]["unzipped_bytes"] == total
    assert manifest["lock_sha256"] == sha256(project / "recipe.lock")
    assert {one["name"]: one["kind"] for one in manifest["distributions"]} == {
        "alpha": "wheel",
        "beta": "wheel",
        "gamma": "source",
        "asset:model": "asset",
        "asset:words": "asset",
        "asset:letters": "asset",
    }

    # The handler's work, with nothing but the layers and the standard library.
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1:3]\n"
        "import app; print(json.dumps(app.handler({'opt': sys.argv[3]}, None)))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(task), str(opt / "python"), str(opt)],
        capture_output=True,
        text=True,
        check=True,
    )
    version = HERE.removeprefix("python")
    assert json.loads(ran.stdout) == ["patched", "2.1", version, "WEIGHTS 2.1"]
    assert (opt / "assets/words/words.txt").read_text() == "one two\n"
    assert (opt / "assets/letters/letters.txt").read_text() == "a b\n"
    assert not (opt / "python/alpha/tests").exists()
    licences = "".join(path.read_text() for path in (opt / "licenses").iterdir())
    assert "do what you like" in licences

    # Nothing changed, nothing is done: no request, and no file is written again.
    index.requests.clear()
    kept = [project, *(cache / kind for kind in ("wheels", "unpacked", "choices", "assets"))]
    before = state(*kept)
    again = built(project, cache)
    assert "nothing changed: build/small" in again.errors
    assert state(*kept) == before
    assert index.requests == []


@pytest.mark.exhaustive
def test_equal_input_gives_equal_bytes_on_another_day_in_another_place(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    built(project, tmp_path / "cache")
    other = tmp_path / "quite/elsewhere"
    write_recipe(other, index)
    for path in other.rglob("*"):
        os.utime(path, (0, 0))
    before = os.umask(0o077)
    try:
        extra = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
        built(other, tmp_path / "other-cache", extra=extra)
    finally:
        os.umask(before)
    assert zips(other) == zips(project)
    assert (other / "recipe.lock").read_bytes() == (project / "recipe.lock").read_bytes()
    assert len(zips(project)) >= 2


@pytest.mark.exhaustive
def test_assets_that_change_places_keep_their_content(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    built(project, tmp_path / "cache")
    lines = MORE.splitlines(keepends=True)
    words = next(n for n, line in enumerate(lines) if "words" in line)
    lines[words], lines[words + 1] = lines[words + 1], lines[words]
    write_recipe(project, index, "".join(lines))
    built(project, tmp_path / "cache")
    inventory = json.loads((project / "build/small/files.json").read_text())
    owners = {one["path"]: one["distribution"] for one in inventory["files"]}
    assert owners["assets/words/words.txt"] == "asset:words"
    assert owners["assets/letters/letters.txt"] == "asset:letters"


def test_a_damaged_build_is_made_again(project: Path, tmp_path: Path) -> None:
    built(project, tmp_path / "cache")
    before = zips(project)
    (project / "build/small/function.zip").write_bytes(b"damaged")
    ended = built(project, tmp_path / "cache")
    assert "nothing changed" not in ended.errors
    assert zips(project) == before


def test_a_script_beside_the_recipe_does_not_make_every_build_new(
    tmp_path: Path, index: LocalIndex
) -> None:
    folder = tmp_path / "project"
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(folder, runtime=HERE, index=index.url, more="assets: [{name: m, prepare: prepare.py}]")
    code = "import sys, pathlib\npathlib.Path(sys.argv[2], 'x').write_text('made')\n"
    (folder / "prepare.py").write_text(code)
    built(folder, tmp_path / "cache")
    assert (folder / "build/small").is_dir()
    assert "nothing changed" in built(folder, tmp_path / "cache").errors


def test_a_small_change_leaves_the_large_zips(tmp_path: Path, index: LocalIndex) -> None:
    # From an eighth of a zip of 50 MB on, an asset has a layer of its own.
    (tmp_path / "model.bin").write_bytes(random.Random(3).randbytes(7_000_000))
    more = "assets: [{name: model, file: model.bin}]"
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, runtime=HERE, index=index.url, more=more)
    built(tmp_path, tmp_path / "cache")
    before = zips(tmp_path)
    index.add(make_wheel(tmp_path / "w", "alpha", "1.1"))
    changed = layerpack(
        "lock", "recipe.yaml", "--upgrade", folder=tmp_path, cache=tmp_path / "cache"
    )
    assert changed.output == "alpha: 1.0 -> 1.1\nrecipe.lock: 1 distributions\n"
    built(tmp_path, tmp_path / "cache")
    after = zips(tmp_path)
    assert before.keys() == after.keys() == {"layers/small-alpha.zip", "layers/small-model.zip"}
    assert before["layers/small-model.zip"] == after["layers/small-model.zip"]
    assert before["layers/small-alpha.zip"] != after["layers/small-alpha.zip"]


@pytest.mark.exhaustive
def test_parallel_builds_of_one_recipe_agree(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    processes = [start("build", "recipe.yaml", folder=project, cache=cache) for _ in range(2)]
    processes += [
        start("build", "recipe.yaml", "-o", f"out/{n}", folder=project, cache=cache) for n in "ab"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    expected = zips(project)
    assert expected
    for name in "ab":
        home = project / "out" / name
        assert {
            path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*.zip")
        } == expected
    assert list((cache / "scratch").iterdir()) == []


def test_a_dry_run_tells_the_plan_and_writes_nothing(project: Path, tmp_path: Path) -> None:
    before = state(project)
    ended = built(project, tmp_path / "cache", "--dry-run", "--format", "json")
    plan = json.loads(ended.output)
    assert plan["lock"] == {"file": "recipe.lock", "holds": False, "reason": "there is none"}
    assert (plan["nothing_to_do"], plan["patches"]) == (False, ["alpha"])
    assert state(project) == before
    assert not (project / "build").exists()
    assert not (tmp_path / "cache").exists()

    built(project, tmp_path / "cache")
    plan = json.loads(built(project, tmp_path / "cache", "--dry-run", "--format", "json").output)
    assert plan["nothing_to_do"] is True
    assert plan["distributions"] == ["alpha==1.0", "beta==2.1", "gamma==1.0"]


@pytest.mark.exhaustive
def test_over_the_limit_the_build_is_complete_and_says_so(
    tmp_path: Path, index: LocalIndex
) -> None:
    with (tmp_path / "model.bin").open("wb") as stream:
        stream.truncate(262_144_000)
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(
        tmp_path, runtime=HERE, index=index.url, more="assets: [{name: model, file: model.bin}]"
    )
    cache = tmp_path / "cache"
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert ended.code == 3
    assert ended.errors.count("error: ") == 1
    assert "error: small is over: layers, unzipped by " in ended.errors
    assert "Traceback" not in ended.errors
    advice = ended.output[ended.output.index("What to do") :]
    assert "asset:model" in advice
    manifest = json.loads((tmp_path / "build/small/manifest.json").read_text())
    assert manifest["totals"]["unzipped_bytes"] > 262_144_000
    assert (tmp_path / "build/small/report.html").is_file()
    # So does the report, later.
    assert layerpack("size-report", "recipe.yaml", folder=tmp_path, cache=cache).code == 3


def test_a_function_over_its_budget_is_told(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    more = MORE.replace("handler: app.handler", "handler: app.handler, budget: 100")
    write_recipe(project, index, more)
    ended = layerpack("build", "recipe.yaml", folder=project, cache=tmp_path / "cache")
    assert ended.code == 3
    assert "error: small is over: function's own code by " in ended.errors
    assert (project / "build/small/function.zip").is_file()


@pytest.mark.exhaustive
def test_commands_on_a_build_answer_from_it(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (project / "code/.gitignore").write_text("*.log\n")
    (project / "code/debug.log").write_text("x" * 1000)
    built(project, cache)

    def command(*arguments: str) -> Ended:
        ended = layerpack(*arguments, folder=project, cache=cache)
        assert (ended.code, ended.errors) == (0, "")
        return ended

    report = json.loads(command("size-report", "recipe.yaml", "--format", "json").output)
    assert report["name"] == "small"
    assert (
        command("size-report", "build/small").output == command("size-report", "recipe.yaml").output
    )
    assert "test suite" in command("explain", "alpha/tests").output
    # What git ignores is not deployed, and the report says so.
    assert "code/.gitignore:1" in command("explain", "debug.log").output
    assert ["debug.log" in note for note in report["notes"]] == [True]
    with zipfile.ZipFile(project / "build/small/function.zip") as archive:
        assert archive.namelist() == ["app.py"]
    assert report["function"]["unzipped_bytes"] == len(HANDLER)
    assert command("diff", "build/small", "recipe.yaml", "--format", "json").output
    # Outputs replace former ones, and nothing else.
    exports = [("export", "build/small", "--to", tool, "-o") for tool in TOOLS]
    for words in (("size-report", "recipe.yaml", "--html"), *exports):
        for _ in range(2):
            command(*words, f"out-{words[-2]}")
        refused = layerpack(*words, "recipe.yaml", folder=project, cache=cache)
        assert (refused.code, refused.errors.count("error:")) == (2, 1)
        assert "layerpack did not write" in refused.errors
    for words in exports:
        file = project / f"out-{words[-2]}"
        former = file.read_bytes()
        file.write_bytes(former.replace(b"\n", b"\r\n"))
        command(*words, file.name)
        assert file.read_bytes() == former
        for edited in (b"# mine\n" + former, former.replace(b"60", b"30"), former + b"# mine\n"):
            assert edited != former
            file.write_bytes(edited)
            refused = layerpack(*words, file.name, folder=project, cache=cache)
            assert (refused.code, refused.errors.count("error:")) == (2, 1)
            assert "may have been edited since layerpack wrote it" in refused.errors
            assert file.read_bytes() == edited
    passes = json.loads(command("passes", "--format", "json").output)
    assert {"tests", "docs", "bytecode"} <= {one["name"] for one in passes}
    (project / "code/app.py").write_text(HANDLER + "# changed\n")
    changed = layerpack("size-report", "recipe.yaml", folder=project, cache=cache)
    assert changed.code == 0
    assert changed.errors == (
        "warning: recipe.yaml or its inputs changed since build/small was built\n"
    )


def test_names_that_are_not_in_the_resolution_are_told(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha", requires=["Beta.x; extra == 'no'", "gamma"]))
    index.add(make_wheel(tmp_path / "w", "gamma"))
    keys = "exclude: [beta-x, gamma, nosuch], override: ['gone==1', 'nosuch==2']"
    more = f"build: {{from-source: [other]}}\nresolve: {{index-url: '{index.url}', {keys}}}\n"
    minimal(tmp_path, requirements=["alpha", "delta"], runtime=HERE, more=more)
    index.add(make_wheel(tmp_path / "w", "delta", requires=["beta-x", "gamma"]))
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0, ended.errors
    told = [line for line in ended.errors.splitlines() if line.startswith("warning: ")]
    assert told == [
        "warning: build.from-source names other, which is not in the lock",
        "warning: resolve.override names gone, which is not in the lock",
        "warning: resolve.exclude names nosuch, which no distribution requires",
    ]


def test_two_recipes_of_one_name_are_told(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, runtime=HERE, index=index.url)
    minimal(tmp_path, runtime=HERE, index=index.url, name="copy.yml")
    (tmp_path / "service.yaml").write_text("name: small\nimage: x\n")
    ended = built(tmp_path, tmp_path / "cache")
    told = "warning: copy.yml is named 'small' too, and its build replaces this one in build/small"
    assert ended.errors.count(told) == 1
    assert "service.yaml" not in ended.errors
    elsewhere = layerpack(
        *("build", "recipe.yaml", "-o", "out"), folder=tmp_path, cache=tmp_path / "cache"
    )
    assert elsewhere.code == 0 and "copy.yml" not in elsewhere.errors


@pytest.mark.exhaustive
def test_a_kill_does_not_wait_for_a_wheel_to_be_unpacked(tmp_path: Path, index: LocalIndex) -> None:
    files = {f"alpha/{n}.bin": bytes(1_000_000) for n in range(300)}
    index.add(make_wheel(tmp_path / "w", "alpha", files=files))
    minimal(tmp_path, runtime=HERE, index=index.url)
    unpacked = tmp_path / "cache/unpacked"
    process = start("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    while not list(unpacked.glob("*/files/alpha/9*.bin")) + list(
        unpacked.glob(".*/files/alpha/9*")
    ):
        assert process.poll() is None
    process.terminate()
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (143, "")
    assert "Traceback" not in errors and "error:" not in errors
    # What runs is not brought to its end, nor left behind.
    assert list(unpacked.iterdir()) == []


def test_a_deprecated_runtime_is_told(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path, "alpha"))
    minimal(tmp_path, runtime="python3.9", index=index.url)
    ended = built(tmp_path, tmp_path / "cache")
    assert "AWS deprecated python3.9 on 2025-12-15" in ended.errors
