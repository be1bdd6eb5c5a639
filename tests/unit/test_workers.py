"""Work in processes: all of it, in what order, and what an error does to the rest."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerpack.archive import DamagedError
from layerpack.workers import in_processes


@dataclass(frozen=True)
class Note:
    """A file to write, by a worker."""

    path: Path


def write(note: Note) -> None:
    """What a worker does; a folder that is not there makes it fail."""
    note.path.write_text("done")


def damaged(note: Note) -> None:
    """An error of ours, which has to come out of the process whole."""
    raise DamagedError(note.path)


def test_every_item_is_worked_on(tmp_path: Path) -> None:
    notes = [Note(tmp_path / str(number)) for number in range(7)]
    with in_processes(write, notes) as completed:
        assert set(completed) == set(notes)
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(7)}


def test_blocked_signals_are_blocked_afterwards(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with in_processes(write, [Note(tmp_path / "one")]) as completed:
            list(completed)
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_nothing_to_do_starts_nothing() -> None:
    nothing: list[Note] = []
    with in_processes(write, nothing) as completed:
        assert list(completed) == []


def test_an_error_comes_out_as_it_was_raised(tmp_path: Path) -> None:
    with (
        pytest.raises(DamagedError) as caught,
        in_processes(damaged, [Note(tmp_path / "x")]) as completed,
    ):
        list(completed)
    assert caught.value.path == tmp_path / "x"
    assert str(caught.value).startswith(f"{tmp_path}/x changed while the build ran")


def test_after_an_error_what_has_not_begun_is_not_begun(tmp_path: Path) -> None:
    notes = [Note(tmp_path / "none" / "x"), *(Note(tmp_path / str(n)) for n in range(2_000))]
    with pytest.raises(FileNotFoundError), in_processes(write, notes) as completed:
        list(completed)
    assert len(list(tmp_path.iterdir())) < 2_000
