"""Turn a BERT sentence encoder's safetensors into parameters of GluonNLP's BERTModel.

Run at build time as ``python convert.py SOURCE OUTPUT``. SOURCE holds, at any depth, one folder in
the layout of sentence-transformers: ``model.safetensors``, ``vocab.txt``, ``config.json``,
``tokenizer_config.json``, ``sentence_bert_config.json``, ``modules.json`` and
``1_Pooling/config.json``. OUTPUT gets ``embeddings.params``, ``encoder.params``, ``vocab.txt`` and
``encoder.json``: two files of weights, since one would be too large a zip to upload directly.
Whatever the handler could not honour stops the build here.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path

import gluonnlp
import mxnet
import numpy

# safetensors' names on the left, BERTModel's on the right; both say .weight or .bias after them.
EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "word_embed.0.weight",
    "embeddings.token_type_embeddings.weight": "token_type_embed.0.weight",
    "embeddings.position_embeddings.weight": "encoder.position_weight",
    "embeddings.LayerNorm.weight": "encoder.layer_norm.gamma",
    "embeddings.LayerNorm.bias": "encoder.layer_norm.beta",
}
PROJECTIONS = {
    "attention.self.query": "attention_cell.proj_query",
    "attention.self.key": "attention_cell.proj_key",
    "attention.self.value": "attention_cell.proj_value",
    "attention.output.dense": "proj",
    "intermediate.dense": "ffn.ffn_1",
    "output.dense": "ffn.ffn_2",
}
NORMS = {
    "attention.output.LayerNorm": "layer_norm",
    "output.LayerNorm": "ffn.layer_norm",
}
# Each file of weights, and whether it holds the encoder's layers; the other holds the rest.
FILES = {"embeddings.params": False, "encoder.params": True}
# The pooler reads only [CLS], and a mean over tokens never asks for it; the ids are 0, 1, 2, ...
UNUSED = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}


def read_safetensors(path: Path) -> dict[str, numpy.ndarray]:
    """Give the float32 tensors of a safetensors file by name, and leave out UNUSED.

    The format: a little-endian uint64 with the header's length, the header in JSON, the data.
    """
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if name in UNUSED:
            continue
        if entry["dtype"] != "F32":
            raise SystemExit(f"{path.name}: {name} is {entry['dtype']}, expected F32")
        start, end = entry["data_offsets"]
        values = numpy.frombuffer(data[8 + length + start : 8 + length + end], "<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def gluon_names(layers: int) -> dict[str, str]:
    """Give BERTModel's name of each tensor of an encoder with so many layers."""
    names = dict(EMBEDDINGS)
    for layer in range(layers):
        theirs, ours = f"encoder.layer.{layer}.", f"encoder.transformer_cells.{layer}."
        for left, right in PROJECTIONS.items():
            names[f"{theirs}{left}.weight"] = f"{ours}{right}.weight"
            names[f"{theirs}{left}.bias"] = f"{ours}{right}.bias"
        for left, right in NORMS.items():
            names[f"{theirs}{left}.weight"] = f"{ours}{right}.gamma"
            names[f"{theirs}{left}.bias"] = f"{ours}{right}.beta"
    return names


def encoder_config(source: Path) -> dict[str, object]:
    """Give what the handler must know of the encoder, checked against what it can do."""

    def read(name: str) -> dict[str, object]:
        value: dict[str, object] = json.loads((source / name).read_text("utf-8"))
        return value

    bert, tokens = read("config.json"), read("tokenizer_config.json")
    sentence, pooling = read("sentence_bert_config.json"), read("1_Pooling/config.json")
    modules = [module["type"] for module in json.loads((source / "modules.json").read_text())]
    known = {
        "a BERT with learnt absolute positions": bert["model_type"] == "bert"
        and bert["position_embedding_type"] == "absolute",
        "exact GELU": bert["hidden_act"] == "gelu",
        "the mean of the tokens": pooling["pooling_mode_mean_tokens"] is True
        and sum(value is True for value in pooling.values()) == 1,
        "normalised embeddings": [name.rsplit(".", 1)[-1] for name in modules]
        == ["Transformer", "Pooling", "Normalize"],
        # sentence-transformers' own switch lowercases before the tokeniser; nobody needs both.
        "a tokeniser that does the lowercasing": sentence["do_lower_case"] is False,
    }
    for expected, holds in known.items():
        if not holds:
            raise SystemExit(f"{source.name}: the handler expects {expected}")
    return {
        "vocab_size": bert["vocab_size"],
        "token_types": bert["type_vocab_size"],
        "layers": bert["num_hidden_layers"],
        "units": bert["hidden_size"],
        "hidden_size": bert["intermediate_size"],
        "heads": bert["num_attention_heads"],
        "positions": bert["max_position_embeddings"],
        "layer_norm_eps": bert["layer_norm_eps"],
        "max_tokens": sentence["max_seq_length"],
        "lower": tokens["do_lower_case"],
    }


def check(output: Path, config: dict[str, object]) -> None:
    """Load what was written into BERTModel: a missing, extra or misshapen tensor raises here."""
    encoder = gluonnlp.model.BERTEncoder(
        num_layers=config["layers"],
        units=config["units"],
        hidden_size=config["hidden_size"],
        num_heads=config["heads"],
        max_length=config["positions"],
        dropout=0.0,
    )
    model = gluonnlp.model.BERTModel(
        encoder,
        vocab_size=config["vocab_size"],
        token_type_vocab_size=config["token_types"],
        units=config["units"],
        embed_size=config["units"],
        use_pooler=False,
        use_decoder=False,
        use_classifier=False,
    )
    for name in FILES:
        model.load_parameters(str(output / name), allow_missing=True)
    missing = [
        name
        for name, parameter in model.collect_params().items()
        if parameter._data is None  # the public way to ask raises an exception
    ]
    if missing:
        raise SystemExit(f"the encoder lacks {', '.join(missing)}")


def main(source: Path, output: Path) -> None:
    """Convert the one model under ``source`` into ``output``."""
    weights = sorted(source.rglob("model.safetensors"))
    if len(weights) != 1:
        raise SystemExit(f"expected one model.safetensors in the source, found {len(weights)}")
    folder = weights[0].parent
    config = encoder_config(folder)
    tensors = read_safetensors(weights[0])
    names = gluon_names(int(str(config["layers"])))
    if names.keys() != tensors.keys():
        odd = ", ".join(sorted(names.keys() ^ tensors.keys()))
        raise SystemExit(f"{weights[0].name}: tensors missing or unknown: {odd}")

    output.mkdir(parents=True, exist_ok=True)
    # Written in the order of the names, so that the same weights always give the same bytes.
    for file, inside in FILES.items():
        arrays = {
            names[name]: mxnet.nd.array(tensors[name])
            for name in sorted(names)
            if name.startswith("encoder.layer.") == inside
        }
        mxnet.nd.save(str(output / file), arrays)
    shutil.copyfile(folder / "vocab.txt", output / "vocab.txt")
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (output / "encoder.json").write_text(text, "utf-8")
    check(output, config)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
