"""The README and the pages in docs/: their links lead somewhere, and they name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layerpack.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def anchors(page: Path) -> set[str]:
    """The names of a page's headings in links, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"(docs/{page.name})" in text


def test_every_key_of_a_recipe_is_documented() -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    described = set(re.findall(r"`([a-z-]+)[`.]", "".join(re.findall(r"^\| .*? \|", text, re.M))))
    keys = {field.alias or name for name, field in Recipe.model_fields.items()}
    assert keys - {"name", "runtime", "requirements", "path"} <= described
