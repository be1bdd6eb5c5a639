"""Text embeddings by ALBERT on MXNet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mxnet
import numpy
import numpy.typing
from model import Albert, AlbertConfig
from tokens import Tokeniser


class TextEncoder:
    """Turns texts into unit vectors: the mean of the last layer over each text's tokens."""

    def __init__(self, weights: Path, tokens: Path) -> None:
        """Load ``encoder.json`` and ``encoder.params`` of one folder, ``spiece.model`` of another.

        Raises ValueError when the two do not belong together.
        """
        text = (weights / "encoder.json").read_text("utf-8")
        self.config = AlbertConfig(**json.loads(text))
        self.tokeniser = Tokeniser(tokens / "spiece.model")
        if self.tokeniser.size != self.config.vocab_size:
            raise ValueError(
                f"the weights know {self.config.vocab_size} pieces and the tokeniser "
                f"{self.tokeniser.size}: they are not of one model"
            )
        self._model = Albert(self.config)
        self._model.load_parameters(str(weights / "encoder.params"))
        self._model.hybridize()

    def embed(self, texts: Sequence[str]) -> numpy.typing.NDArray[numpy.float32]:
        """Give one embedding a text, of length 1: float32 of shape (texts, units)."""
        rows = [self.tokeniser.ids(text, self.config.positions) for text in texts]
        lengths = mxnet.nd.array([len(row) for row in rows], dtype="float32")
        ids = numpy.full((len(rows), max(map(len, rows))), self.tokeniser.pad, numpy.int32)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        tokens = mxnet.nd.array(ids, dtype="int32")
        states = self._model(tokens, mxnet.nd.zeros_like(tokens), lengths)
        # Zeros past each text's end, so that the sum over all positions is the sum over the text.
        states = mxnet.nd.SequenceMask(states, lengths, use_sequence_length=True, axis=1)
        means = mxnet.nd.broadcast_div(states.sum(axis=1), lengths.expand_dims(1))
        embeddings: numpy.typing.NDArray[numpy.float32] = mxnet.nd.L2Normalization(
            means, eps=1e-12
        ).asnumpy()
        return embeddings
