"""Make a seeded random ALBERT, for builds and tests without a trained one.

Run at build time as ``python random_weights.py SOURCE OUTPUT``; SOURCE is not read. OUTPUT gets
``encoder.params`` and ``encoder.json``. The embeddings mean nothing, and the answers say so; all
else is as it would be with trained weights.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import mxnet
import numpy

SEED = 1909
# Small, and no two sizes equal, so that a mixed-up axis shows.
CONFIG: dict[str, int | float | str] = {
    "vocab_size": 500,
    "embedding_size": 96,
    "units": 256,
    "hidden_size": 1024,
    "heads": 8,
    "layers": 12,
    "positions": 512,
    "token_types": 2,
    "layer_norm_eps": 1e-12,
    "weights": f"random (seed {SEED})",
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Give the shape of every parameter by the name that the handler's model gives it."""
    vocab, embedding, units, hidden, positions, types = (
        int(CONFIG[size])
        for size in (
            "vocab_size",
            "embedding_size",
            "units",
            "hidden_size",
            "positions",
            "token_types",
        )
    )
    dense = {
        "embed_project": (units, embedding),
        "layer.query": (units, units),
        "layer.key": (units, units),
        "layer.value": (units, units),
        "layer.project": (units, units),
        "layer.expand": (hidden, units),
        "layer.contract": (units, hidden),
    }
    norms = {
        "embed_norm": embedding,
        "layer.attention_norm": units,
        "layer.output_norm": units,
    }
    return {
        "word_embed.weight": (vocab, embedding),
        "token_type_embed.weight": (types, embedding),
        "position_embed.weight": (positions, embedding),
        **{f"{name}.weight": shape for name, shape in dense.items()},
        **{f"{name}.bias": shape[:1] for name, shape in dense.items()},
        **{f"{name}.gamma": (size,) for name, size in norms.items()},
        **{f"{name}.beta": (size,) for name, size in norms.items()},
    }


def draw(random: numpy.random.Generator, name: str, shape: tuple[int, ...]) -> numpy.ndarray:
    """Draw one parameter, float32 of the shape.

    Matrices are scaled by what flows into them, so that attention is far from uniform; vectors are
    small but not zero, so that a bias left out shows.
    """
    # From uniform bits, whose arithmetic is exact: normal deviates go through the C library's
    # logarithm, which is not the same everywhere.
    values = random.integers(-(2**23), 2**23, shape) / 2**23
    scale = math.sqrt(3 / shape[1]) if len(shape) > 1 else 0.1
    centre = 1.0 if name.endswith(".gamma") else 0.0
    return (values * scale + centre).astype("float32")


def main(output: Path) -> None:
    """Write the parameters and the configuration into ``output``."""
    random = numpy.random.Generator(numpy.random.PCG64(SEED))
    arrays = {
        name: mxnet.nd.array(draw(random, name, shape)) for name, shape in sorted(shapes().items())
    }
    output.mkdir(parents=True, exist_ok=True)
    mxnet.nd.save(str(output / "encoder.params"), arrays)
    text = json.dumps(CONFIG, indent=2, sort_keys=True) + "\n"
    (output / "encoder.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[2]))
