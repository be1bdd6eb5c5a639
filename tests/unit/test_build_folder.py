"""The build folder: whole or as it was, whatever happens while it is replaced."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from select import select

import pytest

from layerpack.build_folder import BuildFolder
from layerpack.errors import UsageError


def build(path: Path, key: str, files: dict[str, str] | None = None) -> BuildFolder:
    """Replace the folder at `path` by one with the files."""
    folder = BuildFolder(path)
    with folder.locked(), folder.replacing(key) as aside:
        for name, text in {"manifest.json": key, **(files or {})}.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (aside / name).write_text(text)
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the build goes; there is a folder for locks."""
    (tmp_path / "locks").mkdir()
    return tmp_path / "build" / "bert"


def test_a_build_is_fresh_under_its_key_only(path: Path) -> None:
    folder = build(path, "one", {"layers/a.zip": "zip"})
    assert folder.is_fresh("one")
    assert not folder.is_fresh("two")
    assert not BuildFolder(path.with_name("other")).is_fresh("one")


@pytest.mark.parametrize("state", ["", "{", "[]", '{"key": "one"}', '{"key": "one", "files": 3}'])
def test_a_damaged_state_is_not_fresh(path: Path, state: str) -> None:
    folder = build(path, "one")
    (path / ".state.json").write_text(state)
    assert not folder.is_fresh("one")


def test_a_damaged_or_absent_file_makes_it_stale(path: Path) -> None:
    folder = build(path, "one", {"layers/a.zip": "zip"})
    (path / "layers/a.zip").write_text("ZIP")
    assert not folder.is_fresh("one")
    (path / "layers/a.zip").write_text("zip")
    assert folder.is_fresh("one")
    (path / "layers/a.zip").unlink()
    assert not folder.is_fresh("one")


def test_it_is_replaced_as_a_whole(path: Path) -> None:
    build(path, "one", {"layers/old.zip": "old"})
    build(path, "two", {"layers/new.zip": "new"})
    assert sorted(str(one.relative_to(path)) for one in path.rglob("*")) == [
        ".state.json",
        "layers",
        "layers/new.zip",
        "manifest.json",
    ]
    assert [one.name for one in path.parent.iterdir()] == ["bert"]


def test_the_former_build_stands_until_the_new_one_is_complete(path: Path) -> None:
    folder = build(path, "one")
    with folder.locked(), folder.replacing("two") as aside:
        (aside / "manifest.json").write_text("two")
        assert (path / "manifest.json").read_text() == "one"
    assert (path / "manifest.json").read_text() == "two"


def test_an_error_leaves_the_former_build_and_nothing_beside_it(path: Path) -> None:
    folder = build(path, "one")
    with pytest.raises(KeyError), folder.replacing("two") as aside:
        (aside / "manifest.json").write_text("half")
        raise KeyError
    assert folder.is_fresh("one")
    assert [one.name for one in path.parent.iterdir()] == ["bert"]


def test_a_first_build_that_fails_leaves_no_folders(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path / "new" / "build" / "bert")
    with pytest.raises(KeyError), folder.locked():
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    # One that was there stays.
    (tmp_path / "new").mkdir()
    with pytest.raises(KeyError), folder.locked():
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


# A build that is killed just before its rename number `at`, which Python's audit hooks tell: the
# code under test runs as it is.
_KILLED = """\
import os, signal, sys
from pathlib import Path
from layerpack.build_folder import BuildFolder

path, at = Path(sys.argv[1]), int(sys.argv[2])
renames = 0


def hook(event, arguments):
    global renames
    if event == "os.rename" and str(path.parent) in str(arguments[0]):
        if renames == at:
            os.kill(os.getpid(), signal.SIGKILL)
        renames += 1


folder = BuildFolder(path)
with folder.locked():
    sys.addaudithook(hook)
    with folder.replacing("two") as aside:
        (aside / "manifest.json").write_text("two")
"""


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_kill_at_any_rename_leaves_a_whole_build(path: Path, at: int) -> None:
    build(path, "one")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, path, str(at)],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    # The next build finds the former one, whole, and can replace it.
    folder = BuildFolder(path)
    with folder.locked():
        assert folder.is_fresh("one")
    build(path, "three")
    assert folder.is_fresh("three")
    assert [one.name for one in path.parent.iterdir()] == ["bert"]


def test_after_a_kill_between_the_renames_the_former_build_comes_back(path: Path) -> None:
    folder = build(path, "one")
    path.rename(path.with_name(".bert.layerpack-former"))
    with folder.locked():
        assert folder.is_fresh("one")
    assert [one.name for one in path.parent.iterdir()] == ["bert"]


def test_after_a_kill_before_the_former_build_was_removed_it_is_removed(path: Path) -> None:
    folder = build(path, "two")
    former = path.with_name(".bert.layerpack-former")
    former.mkdir()
    (former / "manifest.json").write_text("one")
    with folder.locked():
        assert folder.is_fresh("two")
    assert not former.exists()


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json"])
def test_a_folder_with_other_things_is_refused_and_untouched(path: Path, name: str) -> None:
    # A browser extension, too, has a manifest.json.
    path.mkdir(parents=True)
    (path / name).write_text("mine")
    with (
        pytest.raises(UsageError) as caught,
        BuildFolder(path).locked(),
    ):
        pass
    assert str(path) in caught.value.message
    assert "--output" in caught.value.hint
    assert "remove" not in caught.value.hint
    assert (path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["template.yaml", "layers/notes.txt"])
def test_a_file_that_was_put_into_a_build_is_not_lost(path: Path, name: str) -> None:
    folder = build(path, "one", {"layers/a.zip": "zip"})
    (path / "publish.json").write_text("{}")
    with folder.locked():
        pass
    (path / name).write_text("mine")
    with pytest.raises(UsageError, match=name), folder.locked():
        pass
    assert (path / name).read_text() == "mine"


ANOTHERS = '{"key": "one", "files": {"layers/a.zip": {"size": 3}}}'


@pytest.mark.parametrize("state", ["garbage", "", "{}", "[" * 100_000, '{"files": null}', ANOTHERS])
@pytest.mark.parametrize("name", ["precious.txt", "layers/notes.txt", "layers/x/a.zip", "a.zip"])
def test_a_damaged_state_loses_no_file(path: Path, state: str, name: str) -> None:
    files = dict.fromkeys(("layers/a.zip", "report.html", "answers.json", "function.zip"), "own")
    folder = build(path, "one", files)
    (path / ".state.json").write_text(state)
    with folder.locked():
        # What every build has may be replaced.
        pass
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("mine")
    with pytest.raises(UsageError, match=name), folder.locked():
        pass
    assert (path / name).read_text() == "mine"
    (path / name).unlink()
    assert build(path, "two").is_fresh("two")


def test_a_file_that_comes_while_a_build_runs_is_not_lost(path: Path) -> None:
    folder = build(path, "one")
    with (
        pytest.raises(UsageError, match=r"notes\.txt"),
        folder.locked(),
        folder.replacing("two") as aside,
    ):
        (aside / "manifest.json").write_text("two")
        (path / "notes.txt").write_text("mine")
    assert (path / "notes.txt").read_text() == "mine"
    assert folder.is_fresh("one")
    assert [one.name for one in path.parent.iterdir()] == ["bert"]


def test_a_file_that_comes_while_a_build_is_amended_is_not_lost(path: Path) -> None:
    folder = build(path, "one")
    with pytest.raises(UsageError, match=r"notes\.txt"), folder.locked():
        (path / "notes.txt").write_text("mine")
        with folder.amending() as aside:
            (aside / "manifest.json").unlink()
            (aside / "manifest.json").write_text("two")
    assert (path / "notes.txt").read_text() == "mine"
    assert folder.is_fresh("one")


# A program that puts a file into the former build just before a rename of the build's: the first
# one moves it aside, the second one puts the new one into its place.
_PUT = """\
import sys
from pathlib import Path
from layerpack.build_folder import BuildFolder
from layerpack.errors import UsageError

path, at = Path(sys.argv[1]), int(sys.argv[2])
renames = 0


def hook(event, arguments):
    global renames
    if event == "os.rename" and Path(arguments[1]).parent == path.parent:
        former = path if renames == 0 else path.with_name(".bert.layerpack-former")
        if renames == at:
            (former / "notes.txt").write_text("mine")
        renames += 1


folder = BuildFolder(path)
try:
    with folder.locked():
        sys.addaudithook(hook)
        with folder.replacing("two") as aside:
            (aside / "manifest.json").write_text("two")
except UsageError as error:
    print(error.message)
"""


@pytest.mark.parametrize("at", [0, 1])
def test_a_file_that_comes_at_a_rename_is_not_lost(path: Path, at: int) -> None:
    folder = build(path, "one", {"layers/a.zip": "zip"})
    command = [sys.executable, "-c", _PUT, str(path), str(at)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    holder = (path, path.with_name(".bert.layerpack-former"))[at]
    assert "notes.txt" in told and str(holder if at else path) in told
    assert (holder / "notes.txt").read_text() == "mine"
    assert folder.is_fresh(("one", "two")[at])
    if at:
        assert [one.name for one in holder.iterdir()] == ["notes.txt"]
        # The next build says so again, and loses nothing.
        with pytest.raises(UsageError, match=r"notes\.txt"), folder.locked():
            pass
        assert (holder / "notes.txt").read_text() == "mine"


def test_what_stands_beside_a_build_is_not_removed(path: Path) -> None:
    for name in (".bert.new", ".bert.former"):
        (path.parent / name).mkdir(parents=True)
        (path.parent / name / "file").write_text("mine")
    build(path, "one")
    build(path, "two")
    assert {one.read_text() for one in path.parent.glob(".bert.*/file")} == {"mine"}


def test_a_file_is_refused_and_untouched(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")
    with (
        pytest.raises(UsageError, match="is not a folder"),
        BuildFolder(path).locked(),
    ):
        pass
    assert path.read_text() == "mine"


def test_an_empty_folder_may_be_built_in(path: Path) -> None:
    path.mkdir(parents=True)
    assert build(path, "one").is_fresh("one")


def test_the_current_folder_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir(parents=True)
    monkeypatch.chdir(path)
    for one in (Path(), path.parent):
        with pytest.raises(UsageError, match="current folder"):
            BuildFolder(one).check()


def test_a_link_to_a_folder_stays_a_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere" / "bert"
    target.mkdir(parents=True)
    path.parent.mkdir()
    path.symlink_to(target)
    for key in ("one", "two", "three"):
        assert build(path, key).is_fresh(key)
    assert path.is_symlink()
    assert [other.name for other in target.parent.iterdir() if other.is_dir()] == ["bert"]


def test_one_build_at_a_time_works_on_a_folder_and_the_other_says_that_it_waits(
    path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from layerpack.build_folder import BuildFolder\n"
        "folder = BuildFolder(Path(sys.argv[1]))\n"
        "with folder.locked(lambda: print('waiting', flush=True)):\n"
        "    print('locked', (folder.path / 'manifest.json').read_text(), flush=True)\n"
    )
    build(path, "one")
    command = [sys.executable, "-c", code, str(path)]
    with BuildFolder(path).locked(lambda: pytest.fail("nobody has it")):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert select([other.stdout], [], [], 30)[0]
        assert other.stdout.readline() == "waiting\n"
        (path / "manifest.json").write_text("two")
    output, _ = other.communicate(timeout=30)
    assert output == "locked two\n"


def test_many_that_wait_work_one_after_the_other_and_leave_no_lock(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from layerpack.build_folder import BuildFolder\n"
        "folder, mark = BuildFolder(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "for _ in range(50):\n"
        "    with folder.locked():\n"
        "        mark.touch(exist_ok=False)\n"
        "        mark.unlink()\n"
    )
    build(path, "one")
    command = [sys.executable, "-c", code, str(path), str(path.parent / "mark")]
    others = [subprocess.Popen(command) for _ in range(4)]
    assert [one.wait(timeout=120) for one in others] == [0] * 4
    assert [one.name for one in path.parent.iterdir()] == ["bert"]
