"""`layerpack schema`."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from layerpack import data
    from layerpack.cli.render import print_schema

    print_schema(data.text("recipe.schema.json"))
