"""The payload: a sorted tree of files as values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.payload import FileEntry, Payload, entries_of, is_library_name
from tests.support.recipes import payload_in
from tests.support.wheels import sha256


def test_an_entry_is_measured_and_hashed(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"content")
    assert FileEntry.of(file, "python/x", "alpha", executable=True) == FileEntry(
        path="python/x",
        size=7,
        mode=0o755,
        sha256=sha256(file),
        distribution="alpha",
        source=file,
    )


def test_new_content_keeps_path_mode_and_distribution(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old content")
    new.write_text("new")
    entry = FileEntry.of(old, "bin/tool", "alpha", executable=True).with_content(new)
    assert (entry.path, entry.mode, entry.distribution) == ("bin/tool", 0o755, "alpha")
    assert (entry.size, entry.sha256, entry.source) == (3, sha256(new), new)


def test_files_are_sorted_and_found_by_path(tmp_path: Path) -> None:
    payload = payload_in(tmp_path, {"python/b.py": "22", "python/a.py": "1", "lib/x": "333"})
    assert [entry.path for entry in payload] == ["lib/x", "python/a.py", "python/b.py"]
    assert (len(payload), payload.size) == (3, 6)
    assert "lib/x" in payload
    assert "lib" not in payload
    assert payload["python/b.py"].size == 2
    assert payload.get("python/c.py") is None


def test_two_files_at_one_path_are_refused(tmp_path: Path) -> None:
    payload = payload_in(tmp_path, {"python/a.py": "1"})
    with pytest.raises(ValueError, match=r"two files at python/a\.py"):
        Payload([*payload, *payload])


def test_paths_are_told_relative_to_the_distributions_folder(tmp_path: Path) -> None:
    site = "python/lib/python3.12/site-packages"
    payload = Payload(payload_in(tmp_path, {"a": ""}), site=site)
    assert payload.in_site(f"{site}/numpy/x.py") == "numpy/x.py"
    assert payload.in_site("python/numpy/x.py") is None
    assert Payload([]).in_site("python/numpy/x.py") == "numpy/x.py"
    assert Payload([]).in_site("pythonic/x.py") is None


def test_an_update_adds_replaces_and_removes_and_leaves_the_former(tmp_path: Path) -> None:
    former = Payload(payload_in(tmp_path / "1", {"a": "1", "b": "2", "c": "3"}), site="python/x")
    new = former.updated(add=payload_in(tmp_path / "2", {"b": "new", "d": "4"}), remove=["a", "no"])
    assert {entry.path: entry.source.read_text() for entry in new} == {
        "b": "new",
        "c": "3",
        "d": "4",
    }
    assert [entry.path for entry in former] == ["a", "b", "c"]
    assert new.site == "python/x"


def test_the_tree_is_made_with_its_modes(tmp_path: Path) -> None:
    payload = payload_in(tmp_path / "from", {"python/a/b.py": "code"})
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    payload = payload.updated(add=[FileEntry.of(tool, "bin/tool", "alpha", executable=True)])
    before = os.umask(0o077)
    try:
        payload.materialise(tmp_path / "opt")
    finally:
        os.umask(before)
    assert (tmp_path / "opt/python/a/b.py").read_text() == "code"
    assert (tmp_path / "opt/python/a/b.py").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "opt/bin/tool").stat().st_mode & 0o777 == 0o755


def test_a_folders_files_become_entries_with_their_modes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/run").write_text("x")
    (tmp_path / "deep/run").chmod(0o700)
    (tmp_path / "data").write_text("yy")
    (tmp_path / "data").chmod(0o600)
    entries = entries_of(tmp_path, "assets/a", "asset:a")
    assert [(entry.path, entry.mode, entry.size) for entry in entries] == [
        ("assets/a/data", 0o644, 2),
        ("assets/a/deep/run", 0o755, 1),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("python/a/x.so", True),
        ("lib/libx.so.1", True),
        ("python/a.libs/libx-1234abcd.so.1.1.1k", True),
        ("python/a/x.cpython-312-x86_64-linux-gnu.so", True),
        ("python/a.so.d/readme.txt", False),
        ("python/a/some.socket", False),
        ("python/a/x.so_notes", False),
        ("python/so", False),
    ],
)
def test_libraries_are_known_by_their_names(path: str, expected: bool) -> None:
    assert is_library_name(path) is expected


def test_a_tree_is_changed_into_another_payloads(tmp_path: Path) -> None:
    one = payload_in(tmp_path / "one", {"python/a/x.py": "1", "python/b/y.py": "2", "z": "3"})
    other = payload_in(tmp_path / "other", {"python/b/y.py": "4", "z": "3", "lib/new.so": "5"})
    one.materialise(tmp_path / "tree")
    one.change_into(other, tmp_path / "tree")
    other.materialise(tmp_path / "expected")
    trees = [
        {
            path.relative_to(root).as_posix(): path.read_text() if path.is_file() else None
            for path in root.rglob("*")
        }
        for root in (tmp_path / "tree", tmp_path / "expected")
    ]
    # An empty folder would be a namespace package.
    assert trees[0] == trees[1] and "python/a" not in trees[0]
