"""A Lambda function for what texts mean and what they say.

It answers ``{"texts": ["...", ...]}`` with ``{"results": [{"text", "embedding", "tokens",
"entities"}, ...]}``: the embedding by BERT on MXNet, tokens and entities by spaCy.
"""

from __future__ import annotations

import language
from assets import find_asset
from encoder import SentenceEncoder
from gateway import RequestError, answer, body_of
from texts import texts_of

# Loaded while Lambda starts the environment, once for all the requests that it serves.
ENCODER = SentenceEncoder(find_asset("encoder"))
PIPELINE = language.load()


def handler(event: object, context: object) -> dict[str, object]:
    """Answer one API Gateway HTTP API event; a malformed request gets status 400."""
    try:
        texts = texts_of(body_of(event))
    except RequestError as error:
        return answer(400, {"error": str(error)})
    # Seven decimals are all that float32 holds of a number below 1; the rest would be noise.
    embeddings = ENCODER.embed(texts).astype("float64").round(7).tolist()
    analyses = language.analyse(PIPELINE, texts)
    results = [
        {"text": text, "embedding": embedding} | found
        for text, embedding, found in zip(texts, embeddings, analyses, strict=True)
    ]
    return answer(200, {"results": results})
