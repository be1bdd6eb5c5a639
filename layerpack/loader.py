"""What a system's dynamic loader says of its libraries (ld.so(8), ldconfig(8)).

Also runs in containers: imports nothing of layerpack, and runs on Python 3.9 or later.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: What the loader reads, and ldconfig(8) with `-p`.
CACHE: Final = Path("/etc/ld.so.cache")
# glibc's sysdeps/generic/dl-cache.h: `cache_file_new` begins with this, the number of libraries
# (from byte 20) and more, in all 48 bytes; then comes a `file_entry_new` for each, with its name
# and path as offsets of strings. An older format may lie before it, and then does not count.
_CACHE_MAGIC: Final = b"glibc-ld.so.cache1.1"
_CACHE_HEAD: Final = 48
_CACHE_ENTRY: Final = struct.Struct("=iIIIQ")

_LISTED: Final = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$")
_WORDS: Final = {"x86_64": "x86-64", "aarch64": "AArch64"}
#: More than any loader takes, also on an emulated processor.
_SECONDS: Final = 60.0
# A library that is needed, and the loader itself, with the address where each was mapped.
_MAPPED: Final = re.compile(r"^\t(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOADER: Final = re.compile(r"^\t(/\S*/ld\S*) \(0x[0-9a-f]+\)$", re.MULTILINE)


def libraries_in(listing: str, machine: str) -> dict[str, tuple[str, ...]]:
    """Paths by soname for one machine, in the loader's order, from the output of `ldconfig -p`."""
    found: dict[str, tuple[str, ...]] = {}
    for line in listing.splitlines():
        match = _LISTED.match(line)
        if match and _WORDS.get(machine, "?") in match[2]:
            found[match[1]] = (*found.get(match[1], ()), match[3])
    return found


def cache_of(cache: bytes, is_shown: Callable[[Path], bool]) -> bytes:
    """The loader's cache with only those libraries whose path `is_shown`; empty, which loaders
    accept, where its format is unknown."""
    start = cache.find(_CACHE_MAGIC)
    if start < 0:
        return b""
    # The entries get fewer; all else stays in its place, to which offsets lead.
    head = start + len(_CACHE_MAGIC)
    (count,) = struct.unpack_from("=I", cache, head)
    begin, end = start + _CACHE_HEAD, start + _CACHE_HEAD + count * _CACHE_ENTRY.size
    kept = []
    for entry in _CACHE_ENTRY.iter_unpack(cache[begin:end]):
        place = start + entry[2]
        path = cache[place : cache.index(b"\0", place)]
        if is_shown(Path(os.fsdecode(path))):
            kept.append(_CACHE_ENTRY.pack(*entry))
    entries = b"".join(kept).ljust(end - begin, b"\0")
    number = struct.pack("=I", len(kept))
    return cache[:head] + number + cache[head + len(number) : begin] + entries + cache[end:]


def loader_of(program: Path) -> str:
    """The loader of a program, by the name that the program has for it.

    Raises LookupError where it has none (it is static), or does not end.
    """
    # Set, it has the loader tell what it would load and not start the program.
    match = _LOADER.search(_said([str(program)], LD_TRACE_LOADED_OBJECTS="1"))
    if match is None:
        raise LookupError(f"{program} has no loader")
    return match[1]


def libraries_of(file: Path, loader: str, folder: Path) -> set[Path]:
    """All libraries that a library or program needs, as the loader finds them, which looks first in
    `folder`; none for other files. Raises LookupError where the loader does not end."""
    said = _said([loader, "--list", str(file)], LD_LIBRARY_PATH=str(folder))
    return {Path(path) for path in _MAPPED.findall(said)}


def _said(command: list[str], **variables: str) -> str:
    try:
        ended = subprocess.run(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LookupError(f"{command[0]} has not ended after {_SECONDS:g} s") from None
    return ended.stdout.decode(errors="replace")
