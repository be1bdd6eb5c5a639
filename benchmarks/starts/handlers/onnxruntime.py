# /// script
# dependencies = ["numpy", "onnxruntime"]
# ///
# mypy: ignore-errors
"""onnxruntime: a small network is loaded and run."""

import base64

import numpy as np
import onnxruntime

# Conv, Relu, MaxPool, Flatten, MatMul, Sigmoid on x (1, 3, 32, 32), all weights constant; opset 17.
MODEL = base64.b64decode(
    "CAg6jwMKJxICd3MiCENvbnN0YW50KhcKCnZhbHVlX2ludHNACEADQANAA6ABBwozCgJ3cxIBdyIPQ29uc3RhbnRP"
    "ZlNoYXBlKhkKBXZhbHVlKg0IARABIgQK16M8QgF2oAEECiIKAXgKAXcSAWEiBENvbnYqEQoEcGFkc0ABQAFAAUAB"
    "oAEHCgwKAWESAWIiBFJlbHUKOAoBYhIBYyIHTWF4UG9vbCoVCgxrZXJuZWxfc2hhcGVAAkACoAEHKhAKB3N0cmlk"
    "ZXNAAkACoAEHCg8KAWMSAWQiB0ZsYXR0ZW4KJBICbXMiCENvbnN0YW50KhQKCnZhbHVlX2ludHNAgBBACqABBwoz"
    "CgJtcxIBbSIPQ29uc3RhbnRPZlNoYXBlKhkKBXZhbHVlKg0IARABIgQK1yM8QgF2oAEEChEKAWQKAW0SAWUiBk1h"
    "dE11bAoPCgFlEgF5IgdTaWdtb2lkEgFnWhsKAXgSFgoUCAESEAoCCAEKAggDCgIIIAoCCCBiEwoBeRIOCgwIARII"
    "CgIIAQoCCApCBAoAEBE="
)
SESSION = onnxruntime.InferenceSession(MODEL)


def handler(event, context):
    """What the network makes of an even image."""
    (answer,) = SESSION.run(None, {"x": np.full((1, 3, 32, 32), event["n"] / 10, np.float32)})
    return {"statusCode": 200, "body": answer.round(4).tolist()}
