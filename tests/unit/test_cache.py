"""The cache: what is kept, what a damaged or left-over entry does, where it lies."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerpack.cache import Cache


def test_a_note_is_kept_under_all_its_parts(cache: Cache) -> None:
    cache.write_note({"file": "a.whl"}, "choices", "a==1", "python3.12")
    assert cache.read_note("choices", "a==1", "python3.12") == {"file": "a.whl"}
    assert cache.read_note("choices", "a==1", "python3.11") is None
    assert cache.read_note("other", "a==1", "python3.12") is None


@pytest.mark.parametrize("data", [b"", b'{"file": "a.w', b"\xff\xfe"])
def test_a_damaged_note_is_none(cache: Cache, data: bytes) -> None:
    cache.write_note(1, "choices", "a")
    (note,) = cache.folder("choices").iterdir()
    note.write_bytes(data)
    assert cache.read_note("choices", "a") is None


def test_parallel_writers_of_one_note_leave_one_whole_note(cache: Cache) -> None:
    value = {"text": "x" * 100_000}
    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(cache.write_note, value, "notes", "key") for _ in range(40)]:
            job.result()
    assert cache.read_note("notes", "key") == value
    assert len(list(cache.folder("notes").iterdir())) == 1


def test_scratch_is_gone_afterwards_even_after_an_error(cache: Cache) -> None:
    with pytest.raises(KeyError), cache.scratch() as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep/file").write_text("x")
        raise KeyError
    assert list(cache.folder("scratch").iterdir()) == []


def test_scratch_of_a_build_that_died_is_swept_and_that_of_a_running_one_stays(
    cache: Cache,
) -> None:
    left = cache.folder("scratch") / "left"
    aside = cache.folder("unpacked") / ".key.x1y2z3"
    running = cache.folder("scratch") / "running"
    for folder in (left, aside, running):
        folder.mkdir()
        (folder / "file").write_text("x")
    two_days_ago = time.time() - 48 * 3600
    for folder in (left, aside):
        os.utime(folder, (two_days_ago, two_days_ago))
    with cache.scratch():
        assert not left.exists()
        assert not aside.exists()
        assert (running / "file").read_text() == "x"


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERPACK_CACHE_DIR", "somewhere")
    assert Cache.default().root == Path("somewhere")
    monkeypatch.delenv("LAYERPACK_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.default().root == tmp_path / "layerpack"
