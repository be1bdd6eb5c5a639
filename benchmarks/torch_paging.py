"""PyTorch with its libraries packed: their size, and a BERT's forward pass beside the plain ones'.

    python -m benchmarks.torch_paging [--level 16] [--runs 3] [--torch REQUIREMENT]

Installs torch and transformers by pip for the running Python, and a twin of the tree with all
shared libraries bound and packed. In both, fresh interpreters build the same small BERT (the sizes
of all-MiniLM-L6-v2, seeded weights) and run it; prints the sizes, whether the results are the same
bytes, and the ratios of time and memory. pip must find a wheel of torch for processors alone: for
x86_64, name an index or a folder that has one by PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import Measured, measure
from layerpack.recipe_sections import Native
from tests.support.packed_trees import PYTHON, install, packed_twin

#: The local version keeps pip from taking gigabytes of CUDA where a wheel without is missing.
_TORCH: Final = "torch==2.13.0+cpu"
_OTHERS: Final = ("transformers~=5.23",)
#: Forward passes in one process: the first pages code in, the later ones have it.
_PASSES: Final = 6

# One thread, so that the order of sums, and so each bit, does not depend on the machine's load.
_RUN: Final = """\
import json, sys, time
begun = time.perf_counter()
import torch
from transformers import BertConfig, BertModel
torch.set_num_threads(1)
torch.manual_seed(1909)
config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                    intermediate_size=1536)
model = BertModel(config, add_pooling_layer=False).eval()
ids = torch.randint(config.vocab_size, (8, 128))
seconds = [time.perf_counter() - begun]
digests = []
for _ in range(int(sys.argv[1])):
    begun = time.perf_counter()
    with torch.inference_mode():
        states = model(ids).last_hidden_state
    seconds.append(time.perf_counter() - begun)
    digests.append(states.numpy().tobytes())
assert len(set(digests)) == 1
open(sys.argv[2], "wb").write(digests[0])
json.dump(seconds, open(sys.argv[3], "w"))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """One process: as a whole, and its seconds until the model is there, for the first forward
    pass, and for a later one (median); `states` are the result's bytes."""

    whole: Measured
    loaded: float
    first: float
    later: float
    states: bytes


def main() -> int:
    """Install, pack, run, and print; 1 if a result differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    level = Native().level
    parser.add_argument("--level", type=int, default=level, help=f"of zstd (default: {level})")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--torch", default=_TORCH, help=f"requirement (default: {_TORCH})")
    parser.add_argument("--folder", type=Path, help="where the plain tree is kept for a next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".layerpack-torch-", dir=arguments.folder) as folder:
        scratch = Path(folder)
        plain = (arguments.folder or scratch) / "torch"
        if not plain.exists():
            install(scratch / "new", (arguments.torch, *_OTHERS))
            (scratch / "new").rename(plain)
        _pack(plain, scratch / "packed", arguments.level)
        trees = {"plain": plain, "packed": scratch / "packed"}
        ended: dict[str, list[_Ended]] = {name: [] for name in trees}
        for run in range(arguments.runs + 1):
            # Interleaved, so that other work on the machine disturbs both alike.
            for name, tree in trees.items():
                result = _run(tree, scratch)
                if run:
                    ended[name].append(result)
    _compare(ended["plain"], ended["packed"])
    same = len({one.states for results in ended.values() for one in results}) == 1
    print("results:", "the same bytes" if same else "DIFFERENT")
    return 0 if same else 1


def _pack(plain: Path, twin: Path, level: int) -> None:
    """Make the twin, and print the libraries' sizes: all, and the largest."""
    started = time.perf_counter()
    libraries = packed_twin(plain, twin, level=level)
    seconds = time.perf_counter() - started
    before = sum(one.original_bytes for one in libraries)
    after = sum(one.packed_bytes for one in libraries)
    left = sum(one.reason is not None for one in libraries)
    print(
        f"{len(libraries)} libraries ({left} left alone): {before / 1e6:.1f} MB -> "
        f"{after / 1e6:.1f} MB ({after / before:.1%}) at level {level}, in {seconds:.0f} s"
    )
    for one in sorted(libraries, key=lambda one: -one.original_bytes)[:8]:
        told = f" ({one.reason})" if one.reason else ""
        print(
            f"  {one.original_bytes / 1e6:8.1f} -> {one.packed_bytes / 1e6:6.1f} MB  "
            f"{one.path}{told}"
        )
    sys.stdout.flush()


def _run(tree: Path, scratch: Path) -> _Ended:
    states, times = scratch / "states.bin", scratch / "times.json"
    whole = measure(
        (PYTHON, "-S", "-s", "-B", "-c", _RUN, str(_PASSES), states, times),
        environment={
            "PYTHONPATH": str(tree),
            # Nothing is loaded from there, and nothing is to be asked.
            "HF_HUB_OFFLINE": "1",
        },
        folder=scratch,
    )
    loaded, first, *later = json.loads(times.read_text())
    return _Ended(
        whole=whole,
        loaded=loaded,
        first=first,
        later=statistics.median(later),
        states=states.read_bytes(),
    )


def _compare(plain: list[_Ended], packed: list[_Ended]) -> None:
    """Print the medians and their ratios."""
    print(f"{os.cpu_count()} processors, {len(plain)} runs each, medians:")
    parts = {
        "whole process": lambda one: one.whole.seconds,
        "until the model is there": lambda one: one.loaded,
        "first forward pass": lambda one: one.first,
        "later forward pass": lambda one: one.later,
    }
    for name, value in parts.items():
        left, right = (statistics.median(map(value, ended)) for ended in (plain, packed))
        print(f"  {name}: {left:.3f} s -> {right:.3f} s (ratio {right / left:.3f})")
    left, right = (
        statistics.median(one.whole.peak_bytes for one in ended) for ended in (plain, packed)
    )
    print(f"  peak memory: {left / 1e6:.0f} MB -> {right / 1e6:.0f} MB (ratio {right / left:.3f})")


if __name__ == "__main__":
    sys.exit(main())
