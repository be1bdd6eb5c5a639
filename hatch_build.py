"""Builds the pager when layerpack is installed from its sources, or its wheel is built."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagerBuildHook(BuildHookInterface):
    """Compiles the pager into layerpack/elf/pager/lib, which the wheel carries."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" or "editable": the same here."""
        path = Path(self.root) / "layerpack" / "elf" / "pager" / "build.py"
        # By its path: to import it from its package would need layerpack's dependencies.
        spec = importlib.util.spec_from_file_location("layerpack_pager_build", path)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            module.build()
        except module.PagerBuildError as error:
            # A traceback would hide the message.
            sys.exit(f"layerpack: {error}")
