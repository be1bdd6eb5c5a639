"""A Lambda function for sentence embeddings by BERT on PyTorch.

It answers ``{"texts": ["...", ...]}`` with ``{"results": [{"text", "embedding"}, ...]}``.
"""

from __future__ import annotations

from assets import find_asset
from encoder import SentenceEncoder
from gateway import RequestError, answer, body_of
from texts import texts_of

# Loaded while Lambda starts the environment, once for all the requests that it serves.
ENCODER = SentenceEncoder(find_asset("encoder"))


def handler(event: object, context: object) -> dict[str, object]:
    """Answer one API Gateway HTTP API event; a malformed request gets status 400."""
    try:
        texts = texts_of(body_of(event))
    except RequestError as error:
        return answer(400, {"error": str(error)})
    # Seven decimals are all that float32 holds of a number below 1; the rest would be noise.
    embeddings = ENCODER.embed(texts).double().round(decimals=7).tolist()
    results = [
        {"text": text, "embedding": embedding}
        for text, embedding in zip(texts, embeddings, strict=True)
    ]
    return answer(200, {"results": results})
