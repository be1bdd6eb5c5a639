"""ALBERT's text: normalised as its authors did, then cut by a SentencePiece model."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import sentencepiece


class Tokeniser:
    """Cuts texts into the ids of a SentencePiece model that has [CLS], [SEP] and <pad>."""

    def __init__(self, path: Path) -> None:
        """Load a ``spiece.model``."""
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size: int = self._pieces.get_piece_size()
        self._first, self._last, self.pad = (
            self._pieces.piece_to_id(piece) for piece in ("[CLS]", "[SEP]", "<pad>")
        )

    def ids(self, text: str, max_tokens: int) -> list[int]:
        """Give [CLS], the ids of the text's pieces, [SEP]: at most ``max_tokens`` numbers."""
        pieces = self._pieces.encode(normalise(text))
        return [self._first, *pieces[: max_tokens - 2], self._last]


def normalise(text: str) -> str:
    """Give the text with single spaces, plain quotes, no accents, and in lower case."""
    text = " ".join(text.split()).replace("``", '"').replace("''", '"')
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(mark for mark in decomposed if not unicodedata.combining(mark)).lower()
