"""What the pass `paged` plans, and what its libraries then answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from layerpack.passes.api import Edit, PassContext, Rewrite
from layerpack.passes.paged import Paged
from layerpack.payload import Payload

PACKED = "native: {store: paged}\n"


def planned(payload: Payload, context: PassContext) -> list[Edit]:
    """What the pass plans."""
    return list(Paged().plan(payload, context))


def rewritten(edits: list[Edit]) -> dict[str, Rewrite]:
    """Path below site-packages -> the rewrite."""
    return {e.path.removeprefix("python/"): e for e in edits if isinstance(e, Rewrite)}


def only(payload: Payload, context: PassContext) -> Rewrite:
    """The one rewrite that the pass plans."""
    (edit,) = rewritten(planned(payload, context)).values()
    return edit


def answers(payload: Payload, root: Path, path: str) -> list[int]:
    """`answer()` of a library at /opt, with Lambda's search path and with none."""
    payload.materialise(root)
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1], mode=2).answer())"
    command = [sys.executable, "-I", "-c", code, str(root / path)]
    found = []
    for search in ({"LD_LIBRARY_PATH": str(root / "lib")}, {}):
        environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"} | search
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        found.append(int(ended.stdout))
    return found


def exports(edit: Rewrite, name: str) -> bool:
    """Whether a rewritten library has a symbol whose name contains `name`."""
    # All of a packed library's names lie in it as they are; readelf gives up where section
    # headers are missing.
    return name.encode() in edit.source.read_bytes()
