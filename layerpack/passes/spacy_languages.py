"""Leave out the spaCy languages that the recipe does not list.

spaCy imports some languages whatever one asks for (`spacy.registrations` imports ja, ko, th, vi
and zh; nn builds on nb, uk on ru), so those stay, each with its importer's name. A pipeline's
language stays too: its meta.json says which that is. A language that is gone fails as an unknown
one does, with spaCy's own message (E048).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import ClassVar

from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.passes.code import Code
from layerpack.passes.needs import Search, word_filter
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe

_LANGUAGES = "spacy/lang/"
_LOOKUPS = "spacy_lookups_data/data/"


class SpacyLanguages:
    """`spacy/lang/XX` and the tables of spacy-lookups-data for languages that are not listed."""

    name: ClassVar[str] = "spacy-languages"
    summary: ClassVar[str] = "spaCy languages that the recipe does not list"
    after: ClassVar[frozenset[str]] = frozenset({"tests"})

    def wanted(self, recipe: Recipe) -> bool:
        """Only where the recipe lists languages (`strip.spacy-languages: [en]`)."""
        return recipe.strip.spacy_languages is not None

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove the others; keep, with a reason, what kept code imports."""
        listed = frozenset(context.recipe.strip.spacy_languages or ())
        found = {}
        for entry in payload:
            language = _language(payload, entry)
            if language is not None and language not in listed:
                found[entry.path] = language
        if not found:
            return
        kept = _needed(payload, found)
        for path, language in sorted(found.items()):
            if path in kept:
                yield Keep(path=path, reason=f"language '{language}', but {kept[path]}")
            else:
                yield Remove(path=path, reason=f"language '{language}' is not listed")


def _needed(payload: Payload, found: dict[str, str]) -> dict[str, str]:
    search = Search(Code(payload), found, words=())
    pipelines = dict(_pipeline_languages(payload))
    for path, language in found.items():
        if language in pipelines:
            search.keep(path, f"the pipeline {pipelines[language]} is in it")
    # Whoever imports a language is one, or says `lang` and is of spaCy or names it.
    mentions = word_filter(["lang"])

    def may_import(entry: FileEntry, data: bytes) -> bool:
        inside = payload.in_site(entry.path) or ""
        if inside.startswith(_LANGUAGES):
            return True
        return (inside.startswith("spacy/") or b"spacy" in data) and mentions(data)

    return search.run(may_import)


def _language(payload: Payload, entry: FileEntry) -> str | None:
    """The language that a file belongs to, None for shared code and everything else."""
    inside = payload.in_site(entry.path) or ""
    if inside.startswith(_LANGUAGES):
        language, _, rest = inside.removeprefix(_LANGUAGES).partition("/")
        return language if rest else None
    if inside.startswith(_LOOKUPS):
        language, _, rest = inside.removeprefix(_LOOKUPS).partition("_")
        # Every table opens its file when it is asked for, so none misses another's.
        return language if rest and language.isalpha() and len(language) in (2, 3) else None
    return None


def _pipeline_languages(payload: Payload) -> Iterator[tuple[str, str]]:
    """The languages of the pipelines in the payload, each with the pipeline's meta.json."""
    for entry in payload:
        if entry.path.endswith("/meta.json"):
            try:
                meta = json.loads(entry.source.read_bytes())
            except ValueError:
                continue
            if isinstance(meta, dict) and "spacy_version" in meta and meta.get("lang"):
                yield str(meta["lang"]), entry.path.rpartition("/")[0]
