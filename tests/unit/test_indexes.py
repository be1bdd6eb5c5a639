"""Indexes for pip: those of its configuration are added to a recipe's, as pip itself has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from layerpack.indexes import hide_indexes, pip_configuration, pip_indexes, section_of

_PIP = [sys.executable, "-P", "-m", "pip"]


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration of pip's with an index for each command."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    text = "".join(
        f"[{section}]\nextra-index-url = https://{section}/simple\n"
        for section in ("global", "download", "wheel", "install")
    )
    (tmp_path / "pip.conf").write_text(text + "timeout =\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))


def pips_own(command: str) -> list[str]:
    """The further indexes that pip itself takes for a command."""
    code = (
        "from pip._internal.commands import create_command as make\n"
        f"print(*make({command!r}).parser.get_default_values().extra_index_urls)"
    )
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


@pytest.mark.parametrize("command", ["download", "wheel", "install"])
def test_a_recipes_index_is_added_to_those_of_the_commands_section(command: str) -> None:
    words = [*_PIP, command, "--extra-index-url", "https://recipe/simple", "wheel"]
    left, variables = pip_indexes(words)
    assert left == [*_PIP, command, "wheel"]
    assert variables["PIP_EXTRA_INDEX_URL"].split() == [*pips_own(command), "https://recipe/simple"]


@pytest.mark.parametrize(
    ("words", "section"),
    [
        ([*_PIP, "--python", "/opt/python3", "wheel", "--no-deps"], "wheel"),
        (
            [sys.executable, "-m", "uv", "tool", "run", "pip-compile", "--output", "wheel"],
            "install",
        ),
        (["/opt/python3", "-m", "piptools", "compile"], "install"),
        (["readlink", "-f", "download"], "install"),
    ],
)
def test_the_section_is_that_of_the_command(words: Sequence[str], section: str) -> None:
    assert section_of(words) == section


def test_an_empty_setting_is_none() -> None:
    assert "timeout" not in pip_configuration()


def test_pip_reads_any_password_from_its_requirements_file(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text("")
    address = "https://u:pa'ss\"w\\d@host/simple"
    left = hide_indexes(
        ["-m", "pip", "wheel", "--requirement", "r.txt"], {"PIP_INDEX_URL": address}, tmp_path
    )
    assert left == {}
    code = (
        "import sys\n"
        "import pip._internal.req.req_file as module\n"
        "lines = module.RequirementsFileParser(None, module.get_line_parser(None))\n"
        "print(next(lines.parse(sys.argv[1], constraint=False)).opts.index_url)\n"
    )
    read = subprocess.check_output([sys.executable, "-c", code, str(file)], text=True)
    assert read.strip() == address
