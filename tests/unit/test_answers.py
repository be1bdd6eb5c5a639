"""What workloads answered: a round trip, and files of older versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerpack.answers import Answered, Answers
from layerpack.errors import UsageError

ANSWERS = Answers(
    tolerance=0.5,
    ignore=("rows.*.id",),
    workloads=(Answered(name="ask", event="{}", answer="1", again="2"),),
)


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    ANSWERS.write(tmp_path)
    assert Answers.read(tmp_path) == ANSWERS


def test_files_without_fields_to_ignore_are_read(tmp_path: Path) -> None:
    ANSWERS.write(tmp_path)
    path = tmp_path / "answers.json"
    value = json.loads(path.read_text())
    del value["ignore"]
    path.write_text(json.dumps(value))
    read = Answers.read(tmp_path)
    assert read is not None and read.ignore == () and read.workloads == ANSWERS.workloads


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "[" * 100_000, '{"schema_version": 2, "tolerance": 0, "workloads": []}'),
        '{"schema_version": 1, "tolerance": "x", "workloads": []}',
        '{"schema_version": 1, "tolerance": 0.1, "workloads": [{"name": "a"}]}',
        '{"schema_version": 1, "tolerance": 0.1, "workloads": [], "ignore": "abc"}',
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "answers.json").write_text(text)
    with pytest.raises(UsageError, match=r"answers\.json cannot be used"):
        Answers.read(tmp_path)
