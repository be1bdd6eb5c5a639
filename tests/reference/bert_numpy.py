"""A BERT sentence encoder in numpy alone: the oracle for the bert recipe.

Written from the papers (Devlin et al. 2019 for the model, Wu et al. 2016 for WordPiece, Hendrycks
and Gimpel 2016 for GELU) and computed in float64, without a line of the recipe's own code. It
reads the original safetensors, not what the recipe makes of them.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The ideographs of Unicode when BERT was trained: unified, extensions A to E, compatibility.
IDEOGRAPHS = (
    range(0x4E00, 0xA000),
    range(0x3400, 0x4DC0),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2CEB0),
    range(0xF900, 0xFB00),
    range(0x2F800, 0x2FA20),
)

_erf = np.vectorize(math.erf, otypes=[np.float64])


class WordPiece:
    """The uncased BERT tokeniser."""

    def __init__(self, vocab: Path) -> None:
        """Read a vocabulary file: a token a line, its id the line's number."""
        with vocab.open(encoding="utf-8", newline="\n") as lines:
            self.ids = {line.rstrip("\n"): number for number, line in enumerate(lines)}

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Give [CLS], the ids of the text's pieces, [SEP]: at most ``max_tokens`` numbers."""
        pieces = [piece for word in self.words(text) for piece in self.pieces(word)]
        return [self.ids["[CLS]"], *pieces[: max_tokens - 2], self.ids["[SEP]"]]

    def pieces(self, word: str) -> list[int]:
        """Split a word into the longest known pieces from the left; one [UNK] if none fit."""
        found: list[int] = []
        rest, prefix = word, ""
        while rest:
            for size in range(len(rest), 0, -1):
                identity = self.ids.get(prefix + rest[:size])
                if identity is not None:
                    break
            else:
                return [self.ids["[UNK]"]]
            found.append(identity)
            rest, prefix = rest[size:], "##"
        return found if len(word) <= 100 else [self.ids["[UNK]"]]

    def words(self, text: str) -> Iterator[str]:
        """Give the words of a text: lower case, no accents, punctuation and CJK on their own."""
        word = ""
        # Lower case goes first: it can bring forth a combining mark, as it does for "İ".
        for character in unicodedata.normalize("NFD", text.lower()):
            kind = unicodedata.category(character)
            if character in "\t\n\r" or kind[0] == "Z":
                alone = None
            elif kind in ("Mn", "Cc", "Cf") or character == "\ufffd":
                continue
            elif kind[0] == "P" or _ascii_symbol(character) or _ideograph(character):
                alone = character
            else:
                word += character
                continue
            if word:
                yield word
            if alone is not None:
                yield alone
            word = ""
        if word:
            yield word


def _ascii_symbol(character: str) -> bool:
    """Tell whether an ASCII character is printable and neither letter, digit nor space."""
    return "!" <= character <= "~" and not character.isalnum()


def _ideograph(character: str) -> bool:
    """Tell whether a character is in a CJK block that BERT knew (kana and Hangul are not)."""
    return any(ord(character) in block for block in IDEOGRAPHS)


class Bert:
    """The model's weights, in float64, by their names in the safetensors file."""

    def __init__(self, folder: Path) -> None:
        """Read ``model.safetensors``, ``vocab.txt`` and the settings beside them."""
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        sentence = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
        self.max_tokens = int(sentence["max_seq_length"])
        self.tokens = WordPiece(folder / "vocab.txt")
        raw = np.memmap(folder / "model.safetensors", np.uint8, "r")
        size = int(raw[:8].view("<u8")[0])
        header = json.loads(raw[8 : 8 + size].tobytes())
        self.weights: dict[str, Array] = {}
        for name, entry in header.items():
            if entry.get("dtype") == "F32":
                begin, end = (8 + size + offset for offset in entry["data_offsets"])
                values = raw[begin:end].view("<f4").reshape(entry["shape"])
                self.weights[name] = values.astype(np.float64)

    def dense(self, states: Array, name: str) -> Array:
        """Apply one linear layer to the last axis."""
        return np.asarray(states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def norm(self, states: Array, name: str) -> Array:
        """Apply one layer normalisation to the last axis."""
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.asarray(centred / spread * scale + shift)

    def attention(self, states: Array, name: str) -> Array:
        """Let every token of (tokens, units) look at every other; same shape out."""
        heads, count = [], self.config["num_attention_heads"]
        queries, keys, values = (
            np.split(self.dense(states, f"{name}.self.{part}"), count, axis=1)
            for part in ("query", "key", "value")
        )
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = query @ key.T / math.sqrt(query.shape[1])
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ value)
        return self.dense(np.concatenate(heads, axis=1), f"{name}.output.dense")

    def forward(self, ids: Sequence[int]) -> Array:
        """Give the last layer's states, (tokens, units), of one text's ids."""
        embedded = self.weights["embeddings.word_embeddings.weight"][list(ids)]
        embedded = embedded + self.weights["embeddings.position_embeddings.weight"][: len(ids)]
        embedded = embedded + self.weights["embeddings.token_type_embeddings.weight"][0]
        states = self.norm(embedded, "embeddings.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            attended = self.attention(states, f"{layer}.attention")
            states = self.norm(states + attended, f"{layer}.attention.output.LayerNorm")
            inner = self.dense(states, f"{layer}.intermediate.dense")
            inner = inner * (1 + _erf(inner / math.sqrt(2))) / 2
            states = self.norm(
                states + self.dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        return states

    def embed(self, texts: Sequence[str]) -> Array:
        """Give the embeddings of texts, (texts, units): mean over the tokens, length 1."""
        means = np.stack(
            [self.forward(self.tokens.encode(text, self.max_tokens)).mean(axis=0) for text in texts]
        )
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))
