"""Wherever a user sends an output: it is written, or one error says why not, and nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from layerpack.build_folder import BuildFolder
from layerpack.errors import BuildToolError, UsageError
from layerpack.user_paths import output_error, sealed, write_output

#: Where no output can be: neither a file nor a folder.
NOWHERE = ("afile/x", "/proc/x", "loop", "loop/x", "x" * 300, "deep/" + "x" * 300)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with things that are in the way."""
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("mine")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    return tmp_path


def names(folder: Path) -> set[str]:
    """All paths below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("place", ["/", ".", "", "full", "afile", "pipe", "/dev", *NOWHERE])
def test_a_build_is_refused_where_it_cannot_be(folder: Path, place: str) -> None:
    before = names(folder)
    with pytest.raises(UsageError) as caught, BuildFolder(Path(place)).locked():
        pass
    assert caught.value.exit_code == 2
    assert str(Path(place)) in caught.value.message
    assert "--output" in caught.value.hint
    assert names(folder) - {"deep"} == before


@pytest.mark.parametrize("place", ["/", ".", "full", "afile", "loop", "afile/x", "loop/x"])
def test_it_is_refused_before_anything_is_done(place: str) -> None:
    with pytest.raises(UsageError):
        BuildFolder(Path(place)).check()


@pytest.mark.parametrize("place", ["new", "deep/er/new", "dangling"])
def test_a_build_may_be_anywhere_else(folder: Path, place: str) -> None:
    Path("dangling").symlink_to("target")
    with BuildFolder(Path(place)).locked(), BuildFolder(Path(place)).replacing("key") as aside:
        (aside / "manifest.json").touch()
    assert (folder / place / "manifest.json").is_file()


@pytest.mark.parametrize("place", ["/", ".", "", "full", *NOWHERE])
def test_a_file_is_refused_where_it_cannot_be(folder: Path, place: str) -> None:
    before = names(folder)
    with pytest.raises(UsageError) as caught:
        write_output(Path(place), "text", "--html", mark="text")
    assert str(Path(place)) in caught.value.message
    assert "--html" in caught.value.hint
    assert names(folder) - {"deep"} == before


def test_links_pipes_and_devices_stay_what_they_are() -> None:
    Path("link").symlink_to("target.yaml")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_text()))
    reader.start()
    Path("target.yaml").write_text("a former text")
    Path("empty").touch()
    for place in ("link", "pipe", "/dev/null", "empty", "new/file"):
        write_output(Path(place), "text", "--output", mark="text")
    reader.join()
    assert read == ["text"]
    assert Path("link").is_symlink()
    assert Path("/dev/null").is_char_device()
    assert {Path(name).read_text() for name in ("target.yaml", "empty", "new/file")} == {"text"}


@pytest.mark.parametrize("place", ["afile", "other"])
def test_a_file_that_layerpack_did_not_write_is_not_replaced(place: str) -> None:
    Path("other").symlink_to("afile")
    with pytest.raises(UsageError) as caught:
        write_output(Path(place), "text", "--html", mark="text")
    assert f"--html {place}" in caught.value.message
    assert Path("afile").read_text() == "mine"


def test_a_place_without_rights_is_no_mistake_of_usage() -> None:
    with pytest.raises(BuildToolError, match="Permission denied") as caught:
        BuildFolder(Path("/sys/x")).check()
    assert "/sys/x" in caught.value.message
    with pytest.raises(BuildToolError, match="Permission denied"):
        write_output(Path("/sys/x"), "text", "--html", mark="text")


def test_a_full_disk_is_no_users_mistake() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_text("x")
    told = output_error(Path("page.html"), caught.value)
    assert isinstance(told, BuildToolError)
    assert "page.html" in told.message


def test_a_sealed_output_is_replaced_while_nobody_edits_it() -> None:
    file = Path("new.tf")
    for text in (sealed("text 1\n"), sealed("text 2\n")):
        write_output(file, text, "--output", mark="text", is_sealed=True)
        assert file.read_text() == text
    for edited in (sealed("text 2\n") + "mine", "mine\n" + sealed("text 2\n"), "text without\n"):
        file.write_text(edited)
        with pytest.raises(UsageError, match="may have been edited since"):
            write_output(file, sealed("text 3\n"), "--output", mark="text", is_sealed=True)
        assert file.read_text() == edited
