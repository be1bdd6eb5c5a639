"""How wide reports are: as the terminal, and whole lines for whoever reads a pipe."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_LONG = "/".join(["folder"] * 30)
_PROGRAM = f"""
from layerpack.cli import render
from layerpack.report import terminal_parts as parts
out = render.console()
table = parts.new_table("File", ">Size")
table.add_row(parts.tail({_LONG!r}, parts.room_beside(out, 20)), "123.4 MB")
parts.print_table(table, out)
"""


@pytest.mark.parametrize("columns", ["", "100"])
def test_a_pipe_gets_whole_lines_unless_columns_says_otherwise(columns: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment | ({"COLUMNS": columns} if columns else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    row = ended.stdout.splitlines()[-1]
    assert row.split()[1:] == ["123.4", "MB"]
    assert (row.split()[0] == _LONG) == (not columns)
    assert len(row) <= 100 or not columns
