"""ALBERT on Gluon, from its paper: Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning
of Language Representations", ICLR 2020 (arXiv:1909.11942).

Two things make it lite (section 3.1 of the paper): the embedding matrix is factorised, so tokens
live in ``embedding_size`` numbers and are projected to ``units`` once; and one layer's parameters
are shared by all layers. The rest is BERT with post-layer normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mxnet import init
from mxnet.gluon import HybridBlock, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class AlbertConfig:
    """The sizes of an ALBERT (names of the paper in brackets) and where its weights come from."""

    vocab_size: int  # V
    embedding_size: int  # E
    units: int  # H
    hidden_size: int  # the feed-forward network's inner size, 4H in the paper
    heads: int
    layers: int  # L: how many times the one layer is applied
    positions: int  # the longest text, in tokens
    token_types: int
    layer_norm_eps: float
    weights: str  # for people: what these weights are


class Layer(HybridBlock):  # type: ignore[misc]
    """The one layer: self-attention, then a feed-forward network, each added and normalised."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self._heads = config.heads
        self._scale = 1 / math.sqrt(config.units // config.heads)
        with self.name_scope():
            self.query, self.key, self.value, self.project, self.contract = (
                nn.Dense(config.units, flatten=False, in_units=size)
                for size in (*[config.units] * 4, config.hidden_size)
            )
            self.expand = nn.Dense(config.hidden_size, flatten=False, in_units=config.units)
            self.attention_norm, self.output_norm = (
                nn.LayerNorm(in_channels=config.units, epsilon=config.layer_norm_eps)
                for _ in range(2)
            )

    def hybrid_forward(self, ops: Any, states: Any, valid: Any) -> Any:
        """Take states (texts, tokens, units) and give states of the same shape.

        ``valid`` says how many tokens each head may look at, from each position: int32 of
        (texts * heads, tokens).
        """
        query, key, value = (
            self._split(ops, project(states)) for project in (self.query, self.key, self.value)
        )
        scores = ops.batch_dot(query * self._scale, key, transpose_b=True)
        looks = ops.softmax(scores, length=valid, use_length=True, axis=-1)
        attended = self.project(self._merge(ops, ops.batch_dot(looks, value)))
        states = self.attention_norm(states + attended)
        return self.output_norm(states + self.contract(gelu(ops, self.expand(states))))

    def _split(self, ops: Any, states: Any) -> Any:
        """(texts, tokens, units) to (texts * heads, tokens, units / heads)."""
        states = ops.reshape(states, shape=(0, 0, -4, self._heads, -1))
        states = ops.transpose(states, axes=(0, 2, 1, 3))
        return ops.reshape(states, shape=(-1, 0, 0), reverse=True)

    def _merge(self, ops: Any, states: Any) -> Any:
        """(texts * heads, tokens, units / heads) to (texts, tokens, units)."""
        states = ops.reshape(states, shape=(-4, -1, self._heads, 0, 0))
        states = ops.transpose(states, axes=(0, 2, 1, 3))
        return ops.reshape(states, shape=(0, 0, -3))


class Albert(HybridBlock):  # type: ignore[misc]
    """The encoder: token ids in, the last layer's states out."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self._config = config
        with self.name_scope():
            self.word_embed = nn.Embedding(config.vocab_size, config.embedding_size)
            self.token_type_embed = nn.Embedding(config.token_types, config.embedding_size)
            self.position_embed = nn.Embedding(config.positions, config.embedding_size)
            self.embed_norm = nn.LayerNorm(
                in_channels=config.embedding_size, epsilon=config.layer_norm_eps
            )
            self.embed_project = nn.Dense(
                config.units, flatten=False, in_units=config.embedding_size
            )
            self.layer = Layer(config)
        # Nothing is trained here: a parameter that the file lacks must not be made up.
        self.initialize(init.Zero())

    def hybrid_forward(self, ops: Any, tokens: Any, token_types: Any, lengths: Any) -> Any:
        """Give the states of a batch: float32 of (texts, tokens, units).

        Takes token ids and token types, int32 of (texts, tokens), and how many tokens of each row
        are the text's, float32 of (texts,). States past a text's length are not zeroed.
        """
        # Counted along the tokens, so that one graph serves batches of every shape.
        steps = ops.contrib.arange_like(tokens, axis=1)
        embedded = self.word_embed(tokens) + self.token_type_embed(token_types)
        embedded = ops.broadcast_add(embedded, ops.expand_dims(self.position_embed(steps), axis=0))
        states = self.embed_project(self.embed_norm(embedded))
        valid = ops.broadcast_like(
            ops.cast(ops.expand_dims(lengths, axis=1), dtype="int32"), tokens
        )
        valid = ops.repeat(valid, repeats=self._config.heads, axis=0)
        for _ in range(self._config.layers):
            states = self.layer(states, valid)
        return states


def gelu(ops: Any, inputs: Any) -> Any:
    """The Gaussian error linear unit by its tanh formula, which ALBERT was trained with."""
    cubic = inputs + 0.044715 * inputs * inputs * inputs
    return 0.5 * inputs * (1 + ops.tanh(math.sqrt(2 / math.pi) * cubic))
