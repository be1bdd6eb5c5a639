"""Owners of containers: which have ended, and how long they are remembered."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from layerpack.owners import Owner

DAY = 86400
ADDRESS = "unix:///engine"


def ended(folder: Path) -> frozenset[str]:
    """The owners that have ended, as another one sees them."""
    other = Owner(folder, ADDRESS)
    with other.ended() as names:
        found = names
    other.close()
    return found


def aged(folder: Path) -> None:
    """Make a folder and its files two days old."""
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - 2 * DAY,) * 2)


def test_an_owner_that_was_at_work_for_days_is_remembered_for_one_from_its_end(
    tmp_path: Path,
) -> None:
    owner = Owner(tmp_path, ADDRESS)
    owner.leaves = True
    aged(tmp_path / owner.name)
    assert ended(tmp_path) == frozenset()
    owner.close()
    assert ended(tmp_path) == ended(tmp_path) == {owner.name}
    aged(tmp_path / owner.name)
    assert ended(tmp_path) == {owner.name}
    assert not (tmp_path / owner.name).exists()


@pytest.mark.parametrize("files", [[], ["engine"]])
def test_what_an_owner_left_that_was_killed_while_it_began_is_removed(
    tmp_path: Path, files: list[str]
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    ended(tmp_path)
    assert folder.exists()
    aged(folder)
    ended(tmp_path)
    assert not folder.exists()


def test_an_owner_of_another_engine_is_none_of_ours(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "unix:///other")
    owner.leaves = True
    owner.close()
    aged(tmp_path / owner.name)
    assert ended(tmp_path) == frozenset()
    assert (tmp_path / owner.name).exists()
