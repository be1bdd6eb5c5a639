"""A Lambda function for text embeddings by ALBERT.

It answers ``{"texts": ["...", ...]}`` with ``{"weights", "results": [{"text", "embedding"},
...]}``, where ``weights`` says what the numbers are worth: random ones mean nothing.
"""

from __future__ import annotations

from assets import find_asset
from encoder import TextEncoder
from gateway import RequestError, answer, body_of
from texts import texts_of

# Loaded while Lambda starts the environment, once for all the requests that it serves.
ENCODER = TextEncoder(find_asset("albert", "albert-random"), find_asset("albert-tokens"))


def handler(event: object, context: object) -> dict[str, object]:
    """Answer one API Gateway HTTP API event; a malformed request gets status 400."""
    try:
        texts = texts_of(body_of(event))
    except RequestError as error:
        return answer(400, {"error": str(error)})
    # Seven decimals are all that float32 holds of a number below 1; the rest would be noise.
    embeddings = ENCODER.embed(texts).astype("float64").round(7).tolist()
    results = [
        {"text": text, "embedding": embedding}
        for text, embedding in zip(texts, embeddings, strict=True)
    ]
    return answer(200, {"weights": ENCODER.config.weights, "results": results})
