# /// script
# dependencies = ["lightgbm"]
# ///
# mypy: ignore-errors
"""LightGBM: a small model is trained and asked."""

import lightgbm
import numpy as np


def handler(event, context):
    """Predictions after as many rounds as the event says."""
    points = (np.arange(4000) * 7919 % 1009).reshape(1000, 4) / 1009
    settings = {"verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True}
    data = lightgbm.Dataset(points, points.sum(axis=1))
    model = lightgbm.train(settings, data, num_boost_round=event["n"])
    return {"statusCode": 200, "body": model.predict(points[:5]).round(6).tolist()}
