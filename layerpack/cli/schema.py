"""`layerpack schema`."""

from __future__ import annotations

import sys


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from layerpack import data

    sys.stdout.write(data.text("recipe.schema.json"))
