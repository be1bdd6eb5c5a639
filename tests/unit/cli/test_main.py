"""Errors of the system as messages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.cli.main import _copying_error, _system_error


def full(source: str, copy: str) -> None:
    """Copy to a device that is full."""
    Path("/dev/full").write_text(source + copy, encoding="utf-8")


def test_a_copy_that_a_full_disk_ended_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/file").write_text("x")
    cache = Cache.at(tmp_path / "cache")
    cache.make()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    places = {
        cache.root: f" (in the cache {cache.root})\nFree some space, or choose another --cache-dir",
        tmp_path
        / "temporary/layerpack-x": " (among temporary files in .*)\nFree some space, or set TMPDIR",
        tmp_path / "build": "\nFree some space, or choose another place",
    }
    for place, told in places.items():
        with pytest.raises(shutil.Error) as caught:
            shutil.copytree(tmp_path / "from", place / "to", copy_function=full)
        error = _system_error(_copying_error(caught.value))
        assert error.exit_code == 6
        start = f"{place / 'to/file'}: No space left on device"
        shown = str(error)
        assert shown.startswith(start)
        words = told.replace(".*", str(tmp_path / "temporary"))
        assert shown.removeprefix(start).startswith(words)
