"""Sentence embeddings by a BERT encoder: GluonNLP's model on MXNet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gluonnlp
import mxnet
import numpy
import numpy.typing

# The encoder's own limit on a word, past which the word is unknown.
MAX_WORD_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """The encoder's sizes, and how it wants its text: ``encoder.json`` as convert.py wrote it."""

    vocab_size: int
    token_types: int
    layers: int
    units: int
    hidden_size: int
    heads: int
    positions: int
    layer_norm_eps: float
    max_tokens: int  # [CLS] and [SEP] included; what is longer is cut
    lower: bool


class SentenceEncoder:
    """Turns texts into unit vectors whose dot product says how near they are in meaning."""

    def __init__(self, folder: Path) -> None:
        """Load the encoder from the folder that convert.py wrote."""
        text = (folder / "encoder.json").read_text("utf-8")
        self.config = EncoderConfig(**json.loads(text))
        self._model = build(self.config)
        for name in ("embeddings.params", "encoder.params"):
            # Neither has all; convert.py made sure that together they do.
            self._model.load_parameters(str(folder / name), allow_missing=True)
        self._model.hybridize()
        self._vocab = read_vocab(folder / "vocab.txt")
        self._tokenizer = gluonnlp.data.BERTTokenizer(
            self._vocab, lower=self.config.lower, max_input_chars_per_word=MAX_WORD_CHARACTERS
        )

    def token_ids(self, text: str) -> list[int]:
        """Give a text's ids: [CLS], its word pieces, [SEP]; at most ``max_tokens`` in all."""
        pieces = self._tokenizer(text)[: self.config.max_tokens - 2]
        tokens = [self._vocab.cls_token, *pieces, self._vocab.sep_token]
        ids: list[int] = self._vocab.to_indices(tokens)
        return ids

    def embed(self, texts: Sequence[str]) -> numpy.typing.NDArray[numpy.float32]:
        """Give one embedding a text, of length 1: float32 of shape (texts, units)."""
        rows = [self.token_ids(text) for text in texts]
        lengths = [len(row) for row in rows]
        pad = self._vocab[self._vocab.padding_token]
        ids = numpy.full((len(rows), max(lengths)), pad, numpy.int32)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        valid = mxnet.nd.array(lengths, dtype="float32")
        tokens = mxnet.nd.array(ids, dtype="int32")
        # (texts, tokens, units); BERTEncoder leaves zeros past each text's length, so that the
        # sum over all positions is the sum over the text.
        states = self._model(tokens, mxnet.nd.zeros_like(tokens), valid)
        means = mxnet.nd.broadcast_div(states.sum(axis=1), valid.expand_dims(1))
        embeddings: numpy.typing.NDArray[numpy.float32] = mxnet.nd.L2Normalization(
            means, eps=1e-12
        ).asnumpy()
        return embeddings


def build(config: EncoderConfig) -> gluonnlp.model.BERTModel:
    """Give an encoder of these sizes, without weights: no pooler, no heads for pre-training."""
    encoder = gluonnlp.model.BERTEncoder(
        num_layers=config.layers,
        units=config.units,
        hidden_size=config.hidden_size,
        num_heads=config.heads,
        max_length=config.positions,
        dropout=0.0,
        layer_norm_eps=config.layer_norm_eps,
    )
    return gluonnlp.model.BERTModel(
        encoder,
        vocab_size=config.vocab_size,
        token_type_vocab_size=config.token_types,
        units=config.units,
        embed_size=config.units,
        use_pooler=False,
        use_decoder=False,
        use_classifier=False,
    )


def read_vocab(path: Path) -> gluonnlp.vocab.BERTVocab:
    """Give the vocabulary of a ``vocab.txt``: a token a line, its id the line's number."""
    tokens = path.read_text("utf-8").split("\n")
    if tokens[-1] == "":
        tokens.pop()
    return gluonnlp.vocab.BERTVocab(
        # BERTVocab counts tokens to choose them; here all are chosen and each has its place.
        gluonnlp.data.count_tokens(tokens),
        token_to_idx={token: index for index, token in enumerate(tokens)},
    )
