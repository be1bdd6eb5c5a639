"""The loader's cache with a part of its libraries, as ldconfig reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from layerpack.loader import cache_of, libraries_in

LDCONFIG = "/sbin/ldconfig"


# glibc before 2.32 wrote the older format as well.
@pytest.mark.parametrize("kind", ["new", "compat"])
def test_ldconfig_lists_the_shown_libraries_alone(tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "cache"
    subprocess.run([LDCONFIG, "-X", "-c", kind, "-C", cache], check=True, capture_output=True)
    before = listed(cache)
    shown = {name: paths for name, paths in before.items() if name.startswith("libm")}
    assert "libm.so.6" in shown and len(shown) < len(before)
    cache.write_bytes(cache_of(cache.read_bytes(), lambda path: path.name.startswith("libm")))
    assert listed(cache) == shown


def test_a_cache_of_another_format_is_empty() -> None:
    assert cache_of(b"ld.so-1.7.0" + bytes(100), lambda path: True) == b""


def listed(cache: Path) -> dict[str, tuple[str, ...]]:
    """What ldconfig reads in a cache."""
    command = [LDCONFIG, "-p", "-C", str(cache)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return libraries_in(ended.stdout, "x86_64")
