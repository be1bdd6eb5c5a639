"""The cache: what is kept, what a damaged or left-over entry does, where it lies."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.errors import UsageError


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
    packing = cache.folder("passes") / "paged/packed/.x1y2z3"
    running = cache.folder("scratch") / "running"
    for folder in (left, aside, packing, running):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    two_days_ago = time.time() - 48 * 3600
    for folder in (left, aside, packing):
        os.utime(folder, (two_days_ago, two_days_ago))
    with cache.scratch():
        assert not left.exists()
        assert not aside.exists()
        assert not packing.exists()
        assert (running / "file").read_text() == "x"


def test_the_cache_is_where_the_platform_or_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.at().root == tmp_path / "layerpack"
    assert Cache.at(tmp_path / "deep/other").root == tmp_path / "deep/other"
    assert list(tmp_path.iterdir()) == []
    Cache.at(tmp_path / "deep/other").make()
    assert (tmp_path / "deep/other").is_dir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        Cache.at(tmp_path / "file/cache").make()
    assert str(caught.value) == (
        f"the cache folder {tmp_path}/file/cache cannot be made: Not a directory\n"
        "Choose another with --cache-dir or LAYERPACK_CACHE_DIR."
    )


def test_an_entry_is_forgotten_whole_and_nothing_else(tmp_path: Path, cache: Cache) -> None:
    for path in ("unpacked/a/files/x", "unpacked/b/files/x", "patched/x", "passes/symbols/x.so"):
        (cache.root / path).parent.mkdir(parents=True, exist_ok=True)
        (cache.root / path).touch()
    (cache.root / "passes/symbols/y.so").touch()
    (tmp_path / "mine").touch()
    for path in ("unpacked/a/files/x", "patched/x", "passes/symbols/x.so"):
        cache.forget(cache.root / path)
    cache.forget(tmp_path / "mine")
    left = {one.relative_to(cache.root).as_posix() for one in cache.root.rglob("*")}
    assert left == {
        *("unpacked", "unpacked/b", "unpacked/b/files", "unpacked/b/files/x"),
        *("patched", "passes", "passes/symbols", "passes/symbols/y.so"),
    }
    assert (tmp_path / "mine").exists()
