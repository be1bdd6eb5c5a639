"""The ``{"texts": [...]}`` request that the text recipes share."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import RequestError

# Bounds on one request's time and memory: a batch is as wide as its longest text. Beyond them,
# callers send more requests, and Lambda answers those side by side.
MAX_TEXTS = 32
MAX_CHARACTERS = 10_000


def texts_of(body: Mapping[str, object]) -> list[str]:
    """Give the texts of a request: 1 to MAX_TEXTS strings, each of at most MAX_CHARACTERS.

    An empty string is a text like any other. Raises RequestError and names the first offender.
    """
    texts = body.get("texts")
    if not isinstance(texts, list):
        raise RequestError('"texts" must be a list of strings')
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise RequestError(f'"texts" must hold 1 to {MAX_TEXTS} strings, not {len(texts)}')
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise RequestError(f'"texts"[{index}] must be a string, not {type(text).__name__}')
        if len(text) > MAX_CHARACTERS:
            raise RequestError(f'"texts"[{index}] is longer than {MAX_CHARACTERS} characters')
        # JSON can spell half of a surrogate pair, which no encoder and no tokeniser accepts.
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise RequestError(f'"texts"[{index}] holds an unpaired surrogate')
    return texts
