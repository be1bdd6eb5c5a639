"""A Lambda function that reads English: tokens, tags, lemmas and entities of each text.

It answers ``{"texts": ["...", ...]}`` with ``{"results": [{"text", "tokens", "entities"}, ...]}``.
"""

from __future__ import annotations

import language
from gateway import RequestError, answer, body_of
from texts import texts_of

# Loaded while Lambda starts the environment, once for all the requests that it serves.
PIPELINE = language.load()


def handler(event: object, context: object) -> dict[str, object]:
    """Answer one API Gateway HTTP API event; a malformed request gets status 400."""
    try:
        texts = texts_of(body_of(event))
    except RequestError as error:
        return answer(400, {"error": str(error)})
    analyses = language.analyse(PIPELINE, texts)
    results = [{"text": text} | found for text, found in zip(texts, analyses, strict=True)]
    return answer(200, {"results": results})
