"""Where packed libraries find the pager, and that they go on to find one another."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from layerpack import elf
from layerpack.elf import ElfError, GuardOptions
from layerpack.payload import LIBRARIES, Payload, is_library_name

_LOADS: Final = re.compile(rb"\0dlm?open\0")


class SearchPaths:
    """The search paths that libraries of a payload get, by their paths in it."""

    def __init__(self, payload: Payload) -> None:
        self._needed: dict[str, tuple[str, ...]] = {}
        #: Names that are found neither on LD_LIBRARY_PATH nor by the pager's folder: both are lib/.
        self._elsewhere: set[str] = set()
        self._rpaths = False
        # What they load while they run is found by the same paths, and not told.
        self._loaders: set[str] = set()
        for entry in payload:
            if not is_library_name(entry.path):
                continue
            folder, name = posixpath.split(entry.path)
            if folder != LIBRARIES:
                self._elsewhere.add(name)
            try:
                library = elf.read_file(entry.source)
            except ElfError:
                continue
            self._needed[entry.path] = library.needed
            if _LOADS.search(entry.source.read_bytes()):
                self._loaders.add(entry.path)
            # Beside a DT_RUNPATH it counts for nothing.
            self._rpaths |= library.rpath is not None and library.runpath is None

    def pager_folder(self, path: str) -> str:
        """The pager's folder, from that of the library."""
        return posixpath.relpath(LIBRARIES, posixpath.dirname(path))

    def inherits_rpath(self, path: str) -> bool:
        """Whether a library may find another by the DT_RPATH of one that loads it.

        Which libraries load it cannot be told: Python's imports do not tell in what order.
        """
        finds_others = not self._elsewhere.isdisjoint(self._needed.get(path, ()))
        return self._rpaths and (finds_others or path in self._loaders)

    def guard_options(self, path: str) -> GuardOptions:
        """Both, for a library that is not packed."""
        return GuardOptions(
            pager_runpath=self.pager_folder(path), inherits_rpath=self.inherits_rpath(path)
        )
