"""Prepare scripts of assets: what they see, when they run again, how they fail."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from layerpack.assets import AssetContext
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, RecipeError
from layerpack.payload import Payload
from tests.support.assets import contents, context, make, no_wheel, refusal, script
from tests.support.recipes import RUNTIMES, payload_in


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Path(output, 'x').symlink_to('/etc/passwd')", "x is a link"),
        ("Path(output, 'x').symlink_to('/etc')", "x is a link"),
        ("import os; os.mkfifo(Path(output, 'x'))", "x is neither a file nor a folder"),
        (
            "import os; open(os.fsencode(output) + b'/caf\\xe9', 'w').close()",
            "'caf\\udce9' has a name that is not UTF-8",
        ),
    ],
    ids=["link to a file", "link to a folder", "FIFO", "name"],
)
def test_what_a_script_writes_must_be_plain_files(
    tmp_path: Path, cache: Cache, statement: str, expected: str
) -> None:
    script(tmp_path, f"output = sys.argv[2]\nPath(output, 'good').touch()\n{statement}\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    assert refusal(chosen, BuildToolError) == (
        f"the output of the prepare script prepare.py: {expected}\n"
        "It gets the folder as its second argument, and leaves plain files with UTF-8 names there."
    )
    assert list(cache.folder("assets").iterdir()) == []


def test_a_script_that_removes_its_output_is_told(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "Path(sys.argv[2]).rmdir()\n")
    text = refusal(context(tmp_path, cache, "prepare: prepare.py"), BuildToolError)
    assert text.startswith("the prepare script prepare.py removed its output folder\n")


SEE = """
import json, os, sys
from pathlib import Path
Path(sys.argv[2], "seen").write_text(json.dumps(dict(os.environ)))
"""


def test_a_script_gets_none_of_the_callers_variables(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SESSION_TOKEN", "GH_TOKEN", "OMP_NUM_THREADS", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "1")
    for name in ("LANG", "TZ", "PYTHONPATH"):
        monkeypatch.setenv(name, "other")
    script(tmp_path, SEE)
    (text,) = contents(make(context(tmp_path, cache, "prepare: prepare.py"))).values()
    seen = json.loads(text)
    assert not {"AWS_SESSION_TOKEN", "GH_TOKEN", "OMP_NUM_THREADS", "PIP_INDEX_URL"} & seen.keys()
    assert (seen["LANG"], seen["TZ"], seen["PYTHONHASHSEED"]) == ("C.UTF-8", "UTC", "0")
    assert "PYTHONPATH" not in seen
    assert seen["HOME"] != os.environ["HOME"]


def test_what_a_script_writes_is_the_asset(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    script(
        tmp_path,
        "source, output = map(Path, sys.argv[1:])\n"
        "(output / 'deep').mkdir()\n"
        "(output / 'deep/out.txt').write_text((source / 'in.txt').read_text().upper())\n",
    )
    record = make(context(tmp_path, cache, "file: in.txt, prepare: prepare.py"))
    assert contents(record) == {"assets/model/deep/out.txt": "ABC"}
    assert record.origin == "in.txt"


def test_a_script_needs_no_source(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "Path(sys.argv[2], 'seed').write_text(str(list(Path(sys.argv[1]).iterdir())))")
    assert contents(make(context(tmp_path, cache, "prepare: prepare.py"))) == {
        "assets/model/seed": "[]"
    }


def test_a_script_may_change_its_source_and_harms_nothing(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").write_text("1")
    script(
        tmp_path,
        "source, output = map(Path, sys.argv[1:])\n"
        "(source / 'a').rename(output / 'a')\nPath('notes').write_text('in its own folder')\n",
    )
    make(context(tmp_path, cache, "file: data, prepare: prepare.py"))
    assert (tmp_path / "data/a").read_text() == "1"
    assert not list(tmp_path.rglob("notes"))


def test_a_script_sees_its_neighbours_and_the_payload_and_nothing_else(
    tmp_path: Path, cache: Cache
) -> None:
    script(tmp_path, "VALUE = 'neighbour'\n", "tools/helper.py")
    script(
        tmp_path,
        "import helper, alpha, json\n"
        "try:\n    import pytest\n    other = 'pytest'\nexcept ImportError:\n    other = 'none'\n"
        "text = json.dumps([helper.VALUE, alpha.VALUE, other, __name__])\n"
        "Path(sys.argv[2], 'seen').write_text(text)\n",
        "tools/prepare.py",
    )
    payload = payload_in(tmp_path / "files", {"python/alpha/__init__.py": "VALUE = 'packed'\n"})
    record = make(context(tmp_path, cache, "prepare: tools/prepare.py", payload))
    assert contents(record) == {"assets/model/seen": '["neighbour", "packed", "none", "__main__"]'}
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_script_is_run_by_the_targets_python(tmp_path: Path, cache: Cache, runtime: str) -> None:
    script(
        tmp_path,
        "import alpha, later\n"
        "text = f'{sys.version_info[0]}.{sys.version_info[1]} {alpha.VALUE} {later.VALUE}'\n"
        "Path(sys.argv[2], 'seen').write_text(text)\n",
    )
    site = f"python/lib/{runtime}/site-packages"
    files: dict[str, str | bytes] = {
        f"{site}/alpha.py": "VALUE = 'packed'\n",
        # As the runtime's site-packages would, the script's runs .pth files.
        f"{site}/more.pth": "deeper\n",
        f"{site}/deeper/later.py": "VALUE = 'found'\n",
    }
    payload = Payload(payload_in(tmp_path / "files", files), site=site)
    record = make(context(tmp_path, cache, "prepare: prepare.py", payload, runtime=runtime))
    version = runtime.removeprefix("python")
    assert contents(record) == {"assets/model/seen": f"{version} packed found"}


def counting(tmp_path: Path, cache: Cache) -> AssetContext:
    """An asset whose script tells each of its runs in a file outside."""
    script(tmp_path, "NAME = 'x'\n", "helper.py")
    script(
        tmp_path,
        f"import helper\nwith open({str(tmp_path / 'runs')!r}, 'a') as runs:\n    runs.write('.')\n"
        "Path(sys.argv[2], helper.NAME).write_text('made')\n",
    )
    return context(tmp_path, cache, "file: in.txt, prepare: prepare.py")


def test_a_script_runs_once_for_the_same_inputs(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    assert make(chosen) == make(chosen)
    assert (tmp_path / "runs").read_text() == "."


@pytest.mark.parametrize("damage", ["edited", "gone", "added", "note"])
def test_a_damaged_output_in_the_cache_is_made_anew(
    tmp_path: Path, cache: Cache, damage: str
) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    first = make(chosen)
    output = first.entries[0].source
    match damage:
        case "edited":
            output.write_text("evil")
        case "gone":
            output.unlink()
        case "added":
            output.with_name("more").touch()
        case _:
            (output.parents[1] / "done").write_text("")
    assert make(chosen) == first
    assert contents(first) == {"assets/model/x": "made"}
    assert (tmp_path / "runs").read_text() == ".."


@pytest.mark.parametrize("name", ["in.txt", "prepare.py", "helper.py"])
def test_a_script_runs_again_when_an_input_changed(tmp_path: Path, cache: Cache, name: str) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    make(chosen)
    with (tmp_path / name).open("a") as stream:
        stream.write("\n")
    make(chosen)
    assert (tmp_path / "runs").read_text() == ".."


def test_a_script_runs_again_for_another_processor(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)
    make(chosen)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    make(chosen)
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    make(chosen)
    make(chosen)
    assert (tmp_path / "runs").read_text() == "..."


def test_a_script_runs_again_for_another_payload(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    make(chosen)
    other = AssetContext(
        recipe=chosen.recipe,
        payload=chosen.payload,
        payload_key="another",
        cache=cache,
        wheel=no_wheel,
    )
    make(other)
    assert (tmp_path / "runs").read_text() == ".."


def test_a_failing_script_is_told_with_its_last_lines(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "raise ValueError('no such weights')\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    text = refusal(chosen, BuildToolError)
    assert text.startswith("the prepare script prepare.py failed (exit code 1):\nTraceback")
    assert "\nValueError: no such weights\n" in text
    assert list(cache.folder("assets").iterdir()) == []


def test_a_script_that_fails_and_prints_nothing_is_told_in_one_line(
    tmp_path: Path, cache: Cache
) -> None:
    script(tmp_path, "raise SystemExit(3)\n")
    text = refusal(context(tmp_path, cache, "prepare: prepare.py"), BuildToolError)
    assert text.startswith("the prepare script prepare.py failed (exit code 3)\nIt runs as ")


def test_a_script_that_is_killed_is_told_with_the_signal(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "import os\nos.kill(os.getpid(), 9)\n")
    text = refusal(context(tmp_path, cache, "prepare: prepare.py"), BuildToolError)
    assert "failed (signal 9)" in text


def test_a_script_that_writes_nothing_is_told(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "print('done')\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    assert refusal(chosen, BuildToolError) == (
        "the prepare script prepare.py wrote nothing to its output folder\n"
        "It gets the folder as its second argument, and leaves plain files with UTF-8 names there."
    )
    assert list(cache.folder("assets").iterdir()) == []


def test_a_missing_script_is_told(tmp_path: Path, cache: Cache) -> None:
    assert refusal(context(tmp_path, cache, "prepare: none.py"), RecipeError) == (
        "recipe.yaml: assets.model.prepare: none.py does not exist"
    )
