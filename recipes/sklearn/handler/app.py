"""A Lambda function that reads handwritten digits.

It answers ``{"images": [[64 grey values, 0 to 16, row by row], ...]}`` with ``{"results":
[{"digit", "probability"}, ...]}``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import numpy
from assets import find_asset
from gateway import RequestError, answer, body_of

MAX_IMAGES = 256
PIXELS = 64
WHITE = 16

# Loaded while Lambda starts the environment, once for all the requests that it serves. The pickle
# was made by the very versions in these layers, in the same build.
MODEL = pickle.loads((find_asset("digits") / "digits.pickle").read_bytes())  # noqa: S301


def images_of(body: Mapping[str, object]) -> numpy.ndarray:
    """Give the images of a request, float64 of (images, PIXELS).

    Raises RequestError and names the first image that is not PIXELS numbers from 0 to WHITE.
    """
    images = body.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        raise RequestError(f'"images" must be a list of 1 to {MAX_IMAGES} images')
    for index, image in enumerate(images):
        if not (
            isinstance(image, list)
            and len(image) == PIXELS
            # True is an int to Python, and NaN compares false with everything.
            and all(type(value) in (int, float) and 0 <= value <= WHITE for value in image)
        ):
            raise RequestError(f'"images"[{index}] must be {PIXELS} numbers from 0 to {WHITE}')
    return numpy.array(images, dtype="float64")


def handler(event: object, context: object) -> dict[str, object]:
    """Answer one API Gateway HTTP API event; a malformed request gets status 400."""
    try:
        images = images_of(body_of(event))
    except RequestError as error:
        return answer(400, {"error": str(error)})
    probabilities = MODEL.predict_proba(images)
    results = [
        {"digit": int(MODEL.classes_[best]), "probability": round(float(row[best]), 4)}
        for row, best in zip(probabilities, probabilities.argmax(axis=1), strict=True)
    ]
    return answer(200, {"results": results})
