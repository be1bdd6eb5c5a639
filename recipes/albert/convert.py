"""Turn a trained ALBERT's safetensors into the parameters that the handler loads.

Run at build time as ``python convert.py SOURCE OUTPUT``. SOURCE holds one ``.safetensors`` file of
float32 tensors named as in Hugging Face's AlbertModel or AlbertForMaskedLM, of the size of
albert-base-v2. OUTPUT gets ``encoder.params`` and ``encoder.json``. The heads for pre-training
and the pooler are left out: the mean of the tokens asks for neither.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path

import mxnet
import numpy

# The paper's ALBERT base (table 1), with the settings of its second release.
CONFIG: dict[str, int | float | str] = {
    "vocab_size": 30000,
    "embedding_size": 128,
    "units": 768,
    "hidden_size": 3072,
    "heads": 12,
    "layers": 12,
    "positions": 512,
    "token_types": 2,
    "layer_norm_eps": 1e-12,
}
GROUP = "encoder.albert_layer_groups.0.albert_layers.0."
DENSE = {
    "encoder.embedding_hidden_mapping_in": "embed_project",
    GROUP + "attention.query": "layer.query",
    GROUP + "attention.key": "layer.key",
    GROUP + "attention.value": "layer.value",
    GROUP + "attention.dense": "layer.project",
    GROUP + "ffn": "layer.expand",
    GROUP + "ffn_output": "layer.contract",
}
NORMS = {
    "embeddings.LayerNorm": "embed_norm",
    GROUP + "attention.LayerNorm": "layer.attention_norm",
    GROUP + "full_layer_layer_norm": "layer.output_norm",
}
NAMES = {
    "embeddings.word_embeddings.weight": "word_embed.weight",
    "embeddings.token_type_embeddings.weight": "token_type_embed.weight",
    "embeddings.position_embeddings.weight": "position_embed.weight",
    **{f"{left}.{part}": f"{right}.{part}" for left, right in DENSE.items()
       for part in ("weight", "bias")},
    **{f"{left}.weight": f"{right}.gamma" for left, right in NORMS.items()},
    **{f"{left}.bias": f"{right}.beta" for left, right in NORMS.items()},
}  # fmt: skip
UNUSED = ("pooler.", "predictions.", "sop_classifier.", "embeddings.position_ids")


def read_safetensors(data: bytes) -> dict[str, numpy.ndarray]:
    """Give the float32 tensors of a safetensors file by name, and leave out UNUSED.

    The format: a little-endian uint64 with the header's length, the header in JSON, the data.
    """
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for full_name, entry in header.items():
        name = full_name.removeprefix("albert.")
        if name.startswith(UNUSED):
            continue
        if entry["dtype"] != "F32":
            raise SystemExit(f"{full_name} is {entry['dtype']}, expected F32")
        start, end = entry["data_offsets"]
        values = numpy.frombuffer(data[8 + length + start : 8 + length + end], "<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def main(source: Path, output: Path) -> None:
    """Convert the one safetensors file under ``source`` into ``output``."""
    files = sorted(source.rglob("*.safetensors"))
    if len(files) != 1:
        raise SystemExit(f"expected one .safetensors file in the source, found {len(files)}")
    data = files[0].read_bytes()
    tensors = read_safetensors(data)
    if tensors.keys() != NAMES.keys():
        odd = ", ".join(sorted(tensors.keys() ^ NAMES.keys()))
        raise SystemExit(f"{files[0].name}: tensors missing or unknown: {odd}")
    sizes = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], CONFIG["embedding_size"]),
        "embeddings.position_embeddings.weight": (CONFIG["positions"], CONFIG["embedding_size"]),
        GROUP + "ffn.weight": (CONFIG["hidden_size"], CONFIG["units"]),
    }
    for name, shape in sizes.items():
        if tensors[name].shape != shape:
            raise SystemExit(f"{name} is {tensors[name].shape}, expected {shape}: not ALBERT base")

    output.mkdir(parents=True, exist_ok=True)
    # Written in the order of the names, so that the same weights always give the same bytes.
    arrays = {NAMES[name]: mxnet.nd.array(tensors[name]) for name in sorted(NAMES)}
    mxnet.nd.save(str(output / "encoder.params"), arrays)
    origin = f"{files[0].name} sha256:{hashlib.sha256(data).hexdigest()[:16]}"
    text = json.dumps({**CONFIG, "weights": origin}, indent=2, sort_keys=True) + "\n"
    (output / "encoder.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
