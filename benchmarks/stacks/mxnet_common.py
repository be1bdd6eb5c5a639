"""What checks of MXNet are made with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class Checks:
    """Arrays, and operators forward and backward."""

    def __init__(self) -> None:
        self.mx: Any = importlib.import_module("mxnet")
        self.np: Any = importlib.import_module("numpy")

    def array(self, *shape: int, seed: int = 1, positive: bool = False) -> Any:
        """An array of normal numbers, the same for the same seed."""
        values = self.np.random.RandomState(seed).normal(size=shape).astype("float32")
        return self.mx.nd.array(abs(values) + 0.1 if positive else values)

    def differentiated(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """Outputs and gradients."""
        for one in inputs:
            one.attach_grad()
        with self.mx.autograd.record():
            output = function(*inputs)
            first = output[0] if isinstance(output, list | tuple) else output
            weighed = (first * first).sum()
        weighed.backward()
        return [output, [one.grad for one in inputs]]
