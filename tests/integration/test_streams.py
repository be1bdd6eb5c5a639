"""Standard streams that are closed, or on a full device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Ended, environment
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel


def run(redirected: str, *arguments: str, folder: Path, unbuffered: bool = False) -> Ended:
    """Run `layerpack ARGUMENTS` with a shell's redirections."""
    ended = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirected}', COMMAND, *arguments],
        cwd=folder,
        env=environment(folder / "cache", {"PYTHONUNBUFFERED": "1" if unbuffered else ""}),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(code=ended.returncode, output=ended.stdout, errors=ended.stderr)


@pytest.mark.exhaustive
@pytest.mark.parametrize("arguments", [("passes",), ("doctor",), ("schema",), ("--version",)])
def test_what_closed_standard_output_would_get_is_discarded(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run(">&-", *arguments, folder=tmp_path) == Ended(code=0, output="", errors="")
    assert run("<&- >&- 2>&-", *arguments, folder=tmp_path).code == 0


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [("passes",), ("schema",), ("--help",), ("--version",)])
def test_standard_output_that_cannot_be_written_is_one_message(
    tmp_path: Path, arguments: tuple[str, ...], unbuffered: bool
) -> None:
    ended = run(">/dev/full", *arguments, folder=tmp_path, unbuffered=unbuffered)
    assert (ended.code, ended.errors.splitlines()[0]) == (
        6,
        "error: standard output cannot be written: No space left on device",
    )
    assert len(ended.errors.splitlines()) == 2


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "2>/dev/full >/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "code"), [(("build", "none.yaml"), 4), (("build", "--none"), 2)]
)
def test_an_exit_code_is_the_same_where_messages_cannot_be_written(
    tmp_path: Path, stream: str, arguments: tuple[str, ...], code: int
) -> None:
    assert run(stream, *arguments, folder=tmp_path).code == code


@pytest.mark.exhaustive
def test_a_build_and_its_report_need_no_standard_output(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, runtime=HERE, index=index.url)
    assert run(">&-", "build", "recipe.yaml", "-q", folder=tmp_path).code == 0
    for command in (("size-report", "build/small"), ("export", "build/small", "--to", "sam")):
        assert run(">&-", *command, folder=tmp_path) == Ended(code=0, output="", errors="")
        assert run(">/dev/full", *command, folder=tmp_path).code == 6
