"""The cache: what is kept, what a damaged or left-over entry does, where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.cache_upkeep import Removed, prune, stocks
from layerpack.errors import BuildToolError, ResolveError, UsageError
from layerpack.units import ASIDE

KEY = "0123456789abcdef" * 4


def test_a_note_is_kept_under_all_its_parts(cache: Cache) -> None:
    cache.write_note({"file": "a.whl"}, "choices", "a==1", "python3.12")
    assert cache.read_note("choices", "a==1", "python3.12") == {"file": "a.whl"}
    assert cache.read_note("choices", "a==1", "python3.11") is None
    assert cache.read_note("plain", "a==1", "python3.12") is None


@pytest.mark.parametrize("data", [b"", b'{"file": "a.w', b"\xff\xfe", b'"another"'])
def test_a_damaged_note_is_none(cache: Cache, data: bytes) -> None:
    cache.write_note(1, "choices", "a")
    (note,) = cache.folder("choices").iterdir()
    note.write_bytes(data)
    assert cache.read_note("choices", "a") is None


def test_parallel_writers_of_one_note_leave_one_whole_note(cache: Cache) -> None:
    value = {"text": "x" * 100_000}
    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(cache.write_note, value, "plain", "key") for _ in range(40)]:
            job.result()
    assert cache.read_note("plain", "key") == value
    assert len(list(cache.folder("plain").iterdir())) == 1


def test_scratch_is_gone_afterwards_even_after_an_error(cache: Cache) -> None:
    with pytest.raises(KeyError), cache.scratch() as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep/file").write_text("x")
        raise KeyError
    assert list(cache.folder("scratch").iterdir()) == []


HOLD = """\
import os, sys
from pathlib import Path
from layerpack.cache import Cache

cache = Cache(Path(sys.argv[1]))
with cache.opened(), cache.scratch() as scratch:
    (scratch / "file").write_text("x")
    print(scratch, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(cache: Cache) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that uses the cache until its standard input ends, and its scratch folder."""
    command = [sys.executable, "-c", HOLD, str(cache.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_scratch_of_a_running_process_stays_however_old_it_is(cache: Cache) -> None:
    with another(cache) as (process, running):
        old = time.time() - 48 * 3600
        for path in (running, running.parent, running.parent.parent):
            os.utime(path, (old, old))
        with cache.opened(), cache.scratch():
            assert (running / "file").read_text() == "x"
        process.kill()
        process.wait()
    with cache.scratch():
        assert not running.parent.exists()


def test_what_a_killed_build_left_half_written_goes_once_nobody_uses_the_cache(
    cache: Cache,
) -> None:
    left = [
        cache.folder("unpacked") / f"{ASIDE}x1y2z3",
        cache.folder("passes") / f"paged/packed/{ASIDE}x1y2z3",
        cache.folder("deflated") / f"{'a' * 16}/{ASIDE}file",
    ]
    for path in left:
        path.mkdir(parents=True)
        (path / "file").write_text("x")
    with another(cache) as (process, _):
        for path in left:
            path.mkdir(exist_ok=True)
        with cache.opened():
            assert all(path.exists() for path in left)
        process.communicate()
    with cache.opened():
        assert not any(path.exists() for path in left)


def test_hidden_files_that_a_wheel_brings_are_not_swept(cache: Cache) -> None:
    hidden = [
        cache.folder("unpacked") / KEY / "files/.hidden/file",
        cache.folder("unpacked") / KEY / f"files/{ASIDE}file",
        cache.folder("patched") / ".hidden",
    ]
    for path in hidden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (0, 0))
        os.utime(path.parent, (0, 0))
    with cache.opened(), cache.scratch():
        assert all(path.read_text() == "x" for path in hidden)


FOREIGN = {
    "a project": ["proj/.git/config", "proj/.venv/pyvenv.cfg"],
    "a file": ["notes.txt"],
    "folders of our names": ["assets/logo.png", "logs/app.log"],
    "logs alone": ["logs/app.log"],
    "another tool's cache": ["CACHEDIR.TAG", "http/1"],
    "another tool's cache, empty": ["CACHEDIR.TAG"],
    "another tool's tag on ours": ["CACHEDIR.TAG", f"unpacked/{KEY}-2/x", f"choices/{KEY}.json"],
    "downloads with a hash in their names": [f"downloads/{KEY}.tar.gz"],
    "a cache and more": [f"unpacked/{KEY}-2/index.json", "thesis/main.tex"],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_that_is_no_cache_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    for path in FOREIGN[name]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("mine")
    for each in tmp_path.rglob("*"):
        os.utime(each, (0, 0))
    before = sorted(tmp_path.rglob("*"))
    cache = Cache(tmp_path)
    for use in (cache.make, cache.opened().__enter__, cache.scratch().__enter__):
        with pytest.raises(UsageError, match=str(tmp_path)) as caught:
            use()
        assert "--cache-dir" in caught.value.hint
    with pytest.raises(UsageError):
        cache.folder("wheels")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cache_below_a_home_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.at(Path("~")).root == tmp_path
    assert Cache.at(Path("~/cache")).root == tmp_path / "cache"


@pytest.mark.parametrize("name", [" ", "~nobody-has-this-name/cache"])
def test_a_cache_has_a_name_and_a_home_has_a_user(name: str) -> None:
    with pytest.raises(UsageError, match="cache folder") as caught:
        Cache.at(Path(name))
    assert "--cache-dir" in caught.value.hint


def test_a_cache_is_marked_for_backups_and_for_us(cache: Cache) -> None:
    cache.make()
    tag = (cache.root / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    (cache.root / "mine").write_text("x")
    with cache.opened():
        assert cache.folder("wheels").is_dir()


def test_a_cache_from_before_the_marker_is_taken_and_marked(cache: Cache) -> None:
    for path in (
        *(f"wheels/{KEY}/a-1-py3-none-any.whl", f"unpacked/{KEY}-2/files/a.py"),
        *(f"unpacked/.{KEY}-2.x1y2/files/a.py", f"choices/{KEY}.json", "logs/a-1.log"),
        *(f"passes/reduced/operators-{KEY}.json", f"deflated/{'a' * 16}/{KEY}", "scratch/tmp/x"),
    ):
        (cache.root / path).parent.mkdir(parents=True, exist_ok=True)
        (cache.root / path).write_text("x")
    cache.make()
    assert cache.check()
    assert (cache.root / f"wheels/{KEY}/a-1-py3-none-any.whl").read_text() == "x"


def test_a_cache_of_a_newer_layerpack_is_refused(cache: Cache) -> None:
    cache.make()
    (cache.root / "layerpack-cache.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="99"):
        cache.make()


def remove_all(cache: Cache) -> None:
    shutil.rmtree(cache.root)


def remove_kind(cache: Cache) -> None:
    shutil.rmtree(cache.root / "unpacked")


@pytest.mark.parametrize("remove", [remove_all, remove_kind])
def test_a_cache_that_is_removed_while_it_is_used_is_one_error(
    cache: Cache, remove: Callable[[Cache], None]
) -> None:
    entry = cache.folder("unpacked") / KEY
    entry.mkdir()
    with pytest.raises(BuildToolError, match=str(cache.root)) as caught, cache.opened():
        remove(cache)
        (entry / "file").read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_what_a_removed_cache_makes_other_tools_say_is_not_the_error(cache: Cache) -> None:
    with pytest.raises(BuildToolError, match=str(cache.root)), cache.opened():
        remove_all(cache)
        raise ResolveError("pip failed")


def test_a_relative_cache_is_known_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Cache(Path("cache"))
    with pytest.raises(BuildToolError, match="removed"), cache.opened():
        (tmp_path / "cache/gone").read_bytes()


def test_errors_from_elsewhere_stay_as_they_are(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(FileNotFoundError), cache.opened():
        (tmp_path / "gone").read_bytes()
    with pytest.raises(ResolveError), cache.opened():
        raise ResolveError("no network")


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


@pytest.mark.parametrize("name", ["file", "file/cache", "loop"])
def test_a_path_that_is_no_folder_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    cache = Cache.at(tmp_path / name)
    for use in (cache.check, lambda: stocks(cache), lambda: prune(cache, 0)):
        with pytest.raises(UsageError, match=name) as caught:
            use()
        assert "--cache-dir" in caught.value.hint


def test_a_folder_without_a_cache_is_not_marked_by_pruning(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        assert prune(Cache(tmp_path / name), 0) == Removed(entries=0, bytes=0, left_bytes=0)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


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
