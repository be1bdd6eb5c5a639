"""ALBERT's forward pass in numpy alone: the oracle for the albert recipe.

Written from the paper (Lan et al. 2020, arXiv:1909.11942) and computed in float64, without a line
of the recipe's own code. It reads the parameter file that the function loads, by hand: the list
format that MXNet 1.x saves dense arrays in.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LIST_MAGIC = 0x112
ARRAY_MAGIC = 0xF993FAC9
DENSE, CPU, FLOAT32 = 0, 1, 0


def read_params(path: Path) -> dict[str, Array]:
    """Give the float32 arrays of an MXNet parameter file, by name and as float64.

    The format, little-endian: uint64 magic, uint64 zero, uint64 count, then the arrays (uint32
    magic, int32 storage, uint32 dimensions, int64 each, int32 device and number, int32 type, the
    data), then uint64 count and the names, each after its uint64 length.
    """
    data, at = path.read_bytes(), 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal at
        values: tuple[int, ...] = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return values

    magic, _, count = take("3Q")
    if magic != LIST_MAGIC:
        raise ValueError(f"{path.name} is no MXNet parameter file")
    arrays = []
    for _ in range(count):
        magic, storage, dimensions = take("IiI")
        shape = take(f"{dimensions}q")
        device, _, kind = take("3i")
        if (magic, storage, device, kind) != (ARRAY_MAGIC, DENSE, CPU, FLOAT32):
            raise ValueError(f"{path.name} holds an array that is not a dense float32")
        size = int(np.prod(shape))
        arrays.append(np.frombuffer(data, "<f4", size, at).reshape(shape).astype(np.float64))
        at += 4 * size
    names = []
    for _ in range(take("Q")[0]):
        (length,) = take("Q")
        names.append(data[at : at + length].decode("utf-8"))
        at += length
    if at != len(data):
        raise ValueError(f"{path.name} goes on after its names")
    return dict(zip(names, arrays, strict=True))


class Albert:
    """The model's weights, in float64, by their names in the parameter file."""

    def __init__(self, folder: Path) -> None:
        """Read ``encoder.params`` and the sizes in ``encoder.json`` beside it."""
        self.config = json.loads((folder / "encoder.json").read_text("utf-8"))
        self.weights = read_params(folder / "encoder.params")

    def linear(self, states: Array, name: str) -> Array:
        """Apply one linear layer to the last axis."""
        product = np.einsum("...i,oi->...o", states, self.weights[f"{name}.weight"])
        return np.asarray(product + self.weights[f"{name}.bias"])

    def normalise(self, states: Array, name: str) -> Array:
        """Apply one layer normalisation to the last axis."""
        mean = states.mean(-1, keepdims=True)
        deviation = np.sqrt(states.var(-1, keepdims=True) + self.config["layer_norm_eps"])
        scale, shift = self.weights[f"{name}.gamma"], self.weights[f"{name}.beta"]
        return np.asarray((states - mean) / deviation * scale + shift)

    def attend(self, states: Array) -> Array:
        """Let every token of (tokens, units) look at every other; same shape out."""
        tokens, units = states.shape
        heads = self.config["heads"]
        query, key, value = (
            self.linear(states, f"layer.{part}").reshape(tokens, heads, units // heads)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(units // heads)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        looks = odds / odds.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", looks, value).reshape(tokens, units)
        return self.linear(mixed, "layer.project")

    def forward(self, ids: Sequence[int]) -> Array:
        """Give the last layer's states, (tokens, units), of one text's ids."""
        embedded = (
            self.weights["word_embed.weight"][list(ids)]
            + self.weights["position_embed.weight"][np.arange(len(ids))]
            + self.weights["token_type_embed.weight"][0]
        )
        states = self.linear(self.normalise(embedded, "embed_norm"), "embed_project")
        for _ in range(self.config["layers"]):
            states = self.normalise(states + self.attend(states), "layer.attention_norm")
            inner = self.linear(states, "layer.expand")
            inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            states = self.normalise(
                states + self.linear(inner, "layer.contract"), "layer.output_norm"
            )
        return states

    def embed(self, rows: Sequence[Sequence[int]]) -> Array:
        """Give the embeddings of texts' ids, (texts, units): mean over the tokens, length 1."""
        means = np.stack([self.forward(ids).mean(axis=0) for ids in rows])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))
