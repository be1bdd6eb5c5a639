"""Lay a BERT sentence encoder out for the handler, its weights in two files.

Run at build time as ``python shards.py SOURCE OUTPUT``. SOURCE holds, at any depth, one folder in
the layout of sentence-transformers: ``model.safetensors``, ``tokenizer.json``, ``config.json``,
``tokenizer_config.json``, ``sentence_bert_config.json``, ``modules.json`` and
``1_Pooling/config.json``. OUTPUT gets ``embeddings.safetensors``, ``encoder.safetensors`` and the
index by which transformers finds them, ``config.json``, ``tokenizer.json`` and ``encoder.json``:
two files of weights, since one would be too large a zip to upload directly. Whatever the handler
could not honour stops the build here.

It needs the standard library alone: the machine that builds need not be one that can run torch for
the function's architecture.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

# Each file of weights, and whether it holds the encoder's layers; the other holds the rest.
FILES = {"embeddings.safetensors": False, "encoder.safetensors": True}
# The pooler reads only [CLS], and a mean over tokens never asks for it; the ids are 0, 1, 2, ...
UNUSED = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}


def read_safetensors(path: Path) -> dict[str, tuple[list[int], bytes]]:
    """Give the shape and the bytes of each float32 tensor by name, and leave out UNUSED.

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
        tensors[name] = (entry["shape"], data[8 + length + start : 8 + length + end])
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, tuple[list[int], bytes]]) -> None:
    """Write float32 tensors in the order of their names: the same weights give the same bytes."""
    # transformers reads the framework's name here before it reads a tensor.
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, data) in sorted(tensors.items()):
        end = offset + len(data)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data after it is aligned
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for _, (_, data) in sorted(tensors.items()):
            stream.write(data)


def encoder_config(source: Path) -> dict[str, object]:
    """Give what the handler must know of the encoder, checked against what it can do."""

    def read(name: str) -> dict[str, object]:
        value: dict[str, object] = json.loads((source / name).read_text("utf-8"))
        return value

    bert, tokens = read("config.json"), read("tokenizer_config.json")
    sentence, pooling = read("sentence_bert_config.json"), read("1_Pooling/config.json")
    modules = [module["type"] for module in json.loads((source / "modules.json").read_text())]
    known = {
        "a BERT": bert["model_type"] == "bert",
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
        "max_tokens": sentence["max_seq_length"],  # [CLS] and [SEP] included; what is longer is cut
        "pad_id": bert["pad_token_id"],
        "pad_token": tokens["pad_token"],
    }


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, which is the same for the same value."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def main(source: Path, output: Path) -> None:
    """Lay out the one model under ``source`` in ``output``."""
    weights = sorted(source.rglob("model.safetensors"))
    if len(weights) != 1:
        raise SystemExit(f"expected one model.safetensors in the source, found {len(weights)}")
    folder = weights[0].parent
    config = encoder_config(folder)
    tensors = read_safetensors(weights[0])

    output.mkdir(parents=True, exist_ok=True)
    places = {}
    for file, inside in FILES.items():
        part = {
            name: tensor
            for name, tensor in tensors.items()
            if name.startswith("encoder.layer.") == inside
        }
        write_safetensors(output / file, part)
        places.update(dict.fromkeys(part, file))
    size = sum(len(data) for _, data in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    write_json(output / "model.safetensors.index.json", index)
    write_json(output / "encoder.json", config)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(folder / name, output / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
