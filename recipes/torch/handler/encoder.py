"""Sentence embeddings by a BERT encoder: transformers' model on PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertModel
from transformers.utils import logging

# Lambda keeps what is written to stderr, and a bar that fills up is of no use there.
logging.disable_progress_bar()


class SentenceEncoder:
    """Turns texts into unit vectors whose dot product says how near they are in meaning."""

    def __init__(self, folder: Path) -> None:
        """Load the encoder from the folder that shards.py wrote, without the network."""
        config = json.loads((folder / "encoder.json").read_text("utf-8"))
        # A mean over tokens never asks for the pooler, which reads only [CLS].
        self._model = BertModel.from_pretrained(
            folder, add_pooling_layer=False, local_files_only=True, use_safetensors=True
        )
        self._model.eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file's own settings are for training: every text 128 tokens long.
        self._tokenizer.enable_truncation(max_length=config["max_tokens"])
        self._tokenizer.enable_padding(pad_id=config["pad_id"], pad_token=config["pad_token"])

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Give one embedding a text, of length 1: float32 of shape (texts, units)."""
        rows = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([row.ids for row in rows])
        # 1 for each of a text's tokens, [CLS] and [SEP] included, and 0 for the padding after them.
        mask = torch.tensor([row.attention_mask for row in rows])
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        means = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.nn.functional.normalize(means, dim=1)
