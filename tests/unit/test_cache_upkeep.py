"""The cache's size: what is counted, what goes first, and what never goes while it is used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.cache_upkeep import in_use, prune, size_limit, stocks
from layerpack.errors import ResolveError, UsageError
from layerpack.events import Events
from layerpack.units import keep_by_content, sha256_bytes


def entry(cache: Cache, path: str, *, age: int, size: int = 1000) -> Path:
    """An entry that was last used `age` hours ago; a `#` in `path` stands for a key."""
    name = path.replace("#", sha256_bytes(path.encode()))
    file = cache.root / name
    cache.folder(name.split("/")[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    for one in (file, *file.parents):
        if one == cache.root:
            break
        os.utime(one, (1e9 - age * 3600, 1e9 - age * 3600))
    return file


@pytest.fixture
def full(cache: Cache) -> dict[str, Path]:
    """Entries of all shapes, of 1,000 bytes each, and their files from the longest unused on."""
    shapes = {
        "wheel": "wheels/#/a-1-py3-none-any.whl",
        "tree": "unpacked/#-2/files/a/__init__.py",
        "note": "choices/#.json",
        "packed": "passes/paged/packed/#.so",
        "bytecode": "passes/bytecode/#/0.pyc",
        "member": "deflated/0123456789abcdef/#",
        "log": "logs/a-1.0.log",
    }
    return {
        name: entry(cache, path, age=len(shapes) - number)
        for number, (name, path) in enumerate(shapes.items())
    }


def left(full: dict[str, Path]) -> list[str]:
    return [name for name, path in full.items() if path.exists()]


def test_what_there_is_is_told_by_kind(cache: Cache, full: dict[str, Path]) -> None:
    found = {one.kind: (one.entries, one.bytes) for one in stocks(cache)}
    assert found == {
        **dict.fromkeys(("wheels", "unpacked", "choices", "deflated", "logs"), (1, 1000)),
        "passes": (2, 2000),
    }
    assert stocks(Cache(cache.root / "none")) == ()


def test_the_longest_unused_entries_go_until_the_limit_holds(
    cache: Cache, full: dict[str, Path]
) -> None:
    removed = prune(cache, 4500)
    assert removed is not None
    assert (removed.entries, removed.bytes, removed.left_bytes) == (3, 3000, 4000)
    assert left(full) == ["packed", "bytecode", "member", "log"]
    assert not full["tree"].parents[2].exists()
    assert prune(cache, None) == prune(cache, 4000)
    assert left(full) == ["packed", "bytecode", "member", "log"]


def test_all_goes_but_what_says_that_it_is_a_cache(cache: Cache, full: dict[str, Path]) -> None:
    (cache.root / "mine").write_text("x")
    prune(cache, 0)
    assert left(full) == []
    assert cache.check()
    assert (cache.root / "mine").exists()


def test_what_is_used_counts_as_new(cache: Cache) -> None:
    folder = cache.folder("patched")
    first = keep_by_content(folder, b"first" * 100)
    second = keep_by_content(folder, b"second" * 100)
    for number, path in enumerate((first, second)):
        os.utime(path, (number, number))
    keep_by_content(folder, b"first" * 100)
    prune(cache, 600)
    assert first.exists()
    assert not second.exists()


def test_nothing_goes_while_another_uses_the_cache(cache: Cache, full: dict[str, Path]) -> None:
    with cache.opened():
        assert prune(cache, 0) is None
    assert len(left(full)) == len(full)
    assert prune(cache, 0) is not None


def test_what_is_held_stays_when_the_cache_is_not_open(cache: Cache, full: dict[str, Path]) -> None:
    with cache.holding(full["tree"]):
        prune(cache, 0)
        assert left(full) == ["tree"]
    prune(cache, 0)
    assert left(full) == []


def test_a_folder_that_is_no_cache_is_neither_counted_nor_pruned(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/mine.whl").write_text("x")
    for use in (lambda: stocks(Cache(tmp_path)), lambda: prune(Cache(tmp_path), 0)):
        with pytest.raises(UsageError):
            use()
    assert (tmp_path / "wheels/mine.whl").exists()


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        *(("20GB", 20 * 10**9), ("1.5 GB", 1_500_000_000), ("512MiB", 2**29), ("1000", 1000)),
        *(("none", None), ("None", None), ("0", 0)),
    ],
)
def test_the_limit_is_read_as_disks_are_measured(
    text: str, bytes_: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERPACK_CACHE_SIZE", text)
    assert size_limit() == bytes_


def test_the_limit_is_ten_gigabytes_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAYERPACK_CACHE_SIZE", raising=False)
    assert size_limit() == 10**10
    monkeypatch.setenv("LAYERPACK_CACHE_SIZE", "a lot")
    with pytest.raises(UsageError, match="LAYERPACK_CACHE_SIZE"):
        size_limit()
    with pytest.raises(UsageError, match=r"^--size: "):
        size_limit("a little")


def test_a_use_ends_with_the_cache_within_its_limit(
    cache: Cache, full: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERPACK_CACHE_SIZE", "2KB")
    with in_use(cache, Events()) as use:
        use.prunes = False
    assert len(left(full)) == len(full)
    notes: list[str] = []
    with in_use(cache, Events(note=notes.append)):
        assert len(left(full)) == len(full)
    assert left(full) == ["member", "log"]
    assert len(notes) == 1
    monkeypatch.setenv("LAYERPACK_CACHE_SIZE", "0")
    with pytest.raises(KeyboardInterrupt), in_use(cache, Events()):
        raise KeyboardInterrupt
    assert left(full) == []


def test_the_first_error_of_a_use_is_told_where_pruning_fails_too(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("layerpack.cache_upkeep.prune", fails)
    with pytest.raises(ResolveError, match="first"), in_use(cache, Events()):
        raise ResolveError("first")
    with pytest.raises(PermissionError), in_use(cache, Events()):
        pass
