"""How large the cache is, and what of it goes: the longest unused entries first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from layerpack.cache import KINDS, Cache, entries, remove_entry
from layerpack.errors import LayerpackError, UsageError
from layerpack.events import Events
from layerpack.units import human_size, parse_size

VARIABLE: Final = "LAYERPACK_CACHE_SIZE"
_DEFAULT: Final = "10GB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """What the cache holds of one kind: entries, and bytes."""

    kind: str
    entries: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What was removed, and the bytes that are left."""

    entries: int
    bytes: int
    left_bytes: int


@dataclass(kw_only=True, slots=True)
class Use:
    """One use of the cache; `prunes` is false where nothing was added, so that nothing must go."""

    prunes: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    used: float
    size: int
    entry: os.DirEntry[str]


def size_limit(text: str | None = None) -> int | None:
    """The cache's size limit in bytes, as `text` (--size), else LAYERPACK_CACHE_SIZE, else the
    default says (`20GB`; `none` for no limit, which is None). Raises UsageError."""
    source = "--size" if text else VARIABLE
    text = text or os.environ.get(VARIABLE) or _DEFAULT
    if text.strip().lower() == "none":
        return None
    try:
        return parse_size(text, decimal=True)
    except ValueError as error:
        raise UsageError(f"{source}: {error}", "Such as 20GB; none is no limit.") from None


def stocks(cache: Cache) -> tuple[Stock, ...]:
    """What the cache holds, by kind. Raises UsageError for a folder that is no cache."""
    cache.check()
    found = ((kind, list(_found(cache, kind))) for kind in KINDS)
    return tuple(
        Stock(kind=kind, entries=len(each), bytes=sum(one.size for one in each))
        for kind, each in found
        if each
    )


def prune(cache: Cache, limit: int | None) -> Removed | None:
    """Remove the longest unused entries until the cache has at most `limit` bytes (None: any
    number). None, and nothing is removed, where another layerpack uses it. A folder without a cache
    stays as it is. Raises UsageError for one that is something else."""
    if not cache.check() and not any(True for kind in KINDS for _ in _found(cache, kind)):
        return Removed(entries=0, bytes=0, left_bytes=0)
    with cache.alone() as is_alone:
        if not is_alone:
            return None
        found = sorted(
            (one for kind in KINDS for one in _found(cache, kind)),
            key=lambda one: (one.used, one.entry.path),
        )
        total = sum(one.size for one in found)
        count = gone = 0
        for one in found:
            if limit is None or total - gone <= limit:
                break
            if remove_entry(one.entry):
                count += 1
                gone += one.size
        return Removed(entries=count, bytes=gone, left_bytes=total - gone)


@contextmanager
def in_use(cache: Cache, events: Events) -> Iterator[Use]:
    """Use the cache (see `Cache.opened`), and prune it to its size limit afterwards, also after an
    error.

    Raises UsageError for a size limit that is none, before anything is done.
    """
    limit = size_limit()
    use = Use()
    try:
        with cache.opened(lambda: events.warn(f"waiting for the cache {cache.root}: it is pruned")):
            yield use
    except BaseException:
        # A command that fails every time fills the cache too. Its own error is the one to report.
        with suppress(LayerpackError, OSError):
            _prune_after(use, cache, limit, events)
        raise
    _prune_after(use, cache, limit, events)


def _prune_after(use: Use, cache: Cache, limit: int | None, events: Events) -> None:
    if use.prunes and (removed := prune(cache, limit)) and removed.entries:
        events.note(f"removed {human_size(removed.bytes)} that was unused longest from the cache")


def _found(cache: Cache, kind: str) -> Iterator[_Entry]:
    for entry in entries(cache.root / kind):
        try:
            status = entry.stat(follow_symlinks=False)
            is_folder = entry.is_dir(follow_symlinks=False)
            size = _size(entry.path) if is_folder else status.st_size
        except FileNotFoundError:
            # A build finished with it meanwhile.
            continue
        yield _Entry(used=status.st_mtime, size=size, entry=entry)


def _size(folder: str) -> int:
    """The bytes of all files below a folder."""
    size = 0
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            size += _size(entry.path)
        else:
            size += entry.stat(follow_symlinks=False).st_size
    return size
