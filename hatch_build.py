"""Builds the pager when layerpack is installed from its sources, or its wheel is built.

A source distribution carries the source of zstd's decoder instead, so that a wheel can be built
from it without a package index.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagerBuildHook(BuildHookInterface):
    """Compiles the pager into layerpack/elf/pager/lib, which the wheel carries."""

    def dependencies(self) -> list[str]:
        """The compiler, and what downloads the decoder, where the pager has to be built."""
        return self._pager().requirements(sdist=self.target_name == "sdist")

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" or "editable": the same here."""
        pager = self._pager()
        try:
            if self.target_name == "sdist":
                self._scratch = tempfile.TemporaryDirectory()
                source = pager.decoder_source(Path(self._scratch.name))
                build_data["force_include"][str(source)] = f"layerpack/elf/pager/{source.name}"
            else:
                pager.build()
        except pager.PagerBuildError as error:
            # A traceback would hide the message.
            sys.exit(f"layerpack: {error}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was downloaded."""
        if self.target_name == "sdist":
            self._scratch.cleanup()

    def _pager(self) -> ModuleType:
        """The module build.py, by its path: its package needs layerpack's dependencies."""
        path = Path(self.root) / "layerpack" / "elf" / "pager" / "build.py"
        spec = importlib.util.spec_from_file_location("layerpack_pager_build", path)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
