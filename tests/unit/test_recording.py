"""Recordings: what is written is read again, and what is not a recording is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.recording import LibraryRecord, Recording

ONE, OTHER = "1" * 64, "2" * 64
RECORDING = Recording(
    key="k",
    libraries={
        OTHER: LibraryRecord(path="python/z.so", pages=(12, 13, 14, 99, 3, 4, 15)),
        ONE: LibraryRecord(path="python/a.so", pages=()),
    },
    imported=frozenset({"python/z/__init__.py", "python/z/b.py", "python/top.py"}),
)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pages"
    RECORDING.write(path)
    assert Recording.read(path) == RECORDING


def test_neighbours_are_ranges_and_libraries_stand_by_path() -> None:
    lines = RECORDING.text().splitlines()
    assert [line for line in lines if ".so" in line] == [
        f'    "{ONE}": {{"path": "python/a.so", "pages": ""}},',
        f'    "{OTHER}": {{"path": "python/z.so", "pages": "12-14 99 3-4 15"}}',
    ]


def test_modules_stand_by_folder() -> None:
    lines = RECORDING.text().splitlines()
    assert lines[-5:] == [
        '  "imported": {',
        '    "python": "top",',
        '    "python/z": "__init__ b"',
        "  }",
        "}",
    ]


def test_one_without_libraries_is_json_too(tmp_path: Path) -> None:
    path = tmp_path / "x.pages"
    Recording(key="k", libraries={}).write(path)
    assert Recording.read(path) == Recording(key="k", libraries={})


def test_a_page_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "x.pages"
    path.write_text(RECORDING.text().replace("12-14 99 3-4 15", "12-14 13-15 12"))
    read = Recording.read(path)
    assert read is not None and read.libraries[OTHER].pages == (12, 13, 14, 15)


def test_there_may_be_none_or_one_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "x.pages"
    assert Recording.read(path) is None
    path.write_text('{"version": 1, "anything": "else"}')
    assert Recording.read(path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pages",
        "[]",
        *('{"key": "k"}', "[" * 100_000),
        '{"version": 2, "key": 5, "libraries": {}, "imported": {}}',
        '{"version": 2, "key": "k", "libraries": {}, "imported": {}, "operators": []}',
        '{"version": 2, "libraries": {}}',
        '{"version": 2, "key": "k", "libraries": []}',
        '{"version": 2, "key": "k", "libraries": {"x": {"path": "p"}}}',
        '{"version": 2, "key": "k", "libraries": {"x": {"path": "p", "pages": "3-1"}}}',
        '{"version": 2, "key": "k", "libraries": {"x": {"path": "p", "pages": "1-999999999"}}}',
        '{"version": 2, "key": "k", "libraries": {"x": {"path": "p", "pages": "one"}}}',
    ],
)
def test_what_is_no_recording_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pages"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"x\.pages is not a recording"):
        Recording.read(path)


def test_it_holds_for_the_same_workloads_and_libraries_alone() -> None:
    assert RECORDING.stale_reason("k", [OTHER, ONE]) == ""
    assert "workload" in RECORDING.stale_reason("other", [ONE, OTHER])
    assert "libraries" in RECORDING.stale_reason("k", [ONE])
    assert "libraries" in RECORDING.stale_reason("k", [ONE, OTHER, "3" * 64])
