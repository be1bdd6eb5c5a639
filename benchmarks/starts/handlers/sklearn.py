# /// script
# dependencies = ["numpy", "scikit-learn"]
# ///
# mypy: ignore-errors
"""scikit-learn: a classifier is fitted and asked."""

import numpy as np
from sklearn.linear_model import LogisticRegression


def handler(event, context):
    """The classes of points that the event scales."""
    points = (np.arange(800) * 7919 % 1009).reshape(200, 4) / 1009
    model = LogisticRegression().fit(points, points.sum(axis=1) > 2)
    return {"statusCode": 200, "body": model.predict(points[:20] * event["n"]).tolist()}
