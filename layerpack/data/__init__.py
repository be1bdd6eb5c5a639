"""Outside facts as data files, each dated and with its source."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def load(name: str) -> Any:
    """The parsed content of a JSON data file of this package, by file name."""
    return json.loads(text(name))


@cache
def text(name: str) -> str:
    """The text of a data file of this package, by file name."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
