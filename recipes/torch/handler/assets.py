"""Where the layers put this function's data."""

from __future__ import annotations

import sys
from pathlib import Path


def find_asset(*names: str) -> Path:
    """Give the folder of the first of these assets that a layer holds.

    Layers hold packages in ``python/`` and assets in ``assets/`` beside it, so each entry of
    sys.path is asked for its neighbour: on Lambda, /opt/python leads to /opt/assets. Raises
    FileNotFoundError when no layer holds any of them.
    """
    for name in names:
        for entry in sys.path:
            folder = Path(entry).resolve().parent / "assets" / name
            if folder.is_dir():
                return folder
    raise FileNotFoundError(
        f"no layer holds assets/{' or assets/'.join(names)}: publish the layers that were built "
        "with this function, and keep their python/ folder on sys.path"
    )
