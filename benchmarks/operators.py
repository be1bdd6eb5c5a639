"""Whether MXNet's operators answer as ever where they alone stay: each is kept, and compared.

    python -m benchmarks.operators [softmax Convolution ...] [--folder DIR] [--inference]
    python -m benchmarks.operators --kept recipes/bert.pages

For each operator libmxnet.so is reduced to it, and to what it calls for, and packed; then a process
on the plain wheels and one on the reduced library make the same calls (`operator_driver`), for all
data types, shapes and storage types that `operator_cases` has, and run the programs of
`operator_programs`, for which more operators stay. Outcomes are compared one by one: they must be
the same to the bit, and errors the same texts. A process that ends in a call leaves the rest to
another one; both must end there, and by the same code. Without names, the operators of `OTHERS` are
tried; `--kept` tries those that a recipe's recording leads to. Ends with 1 after any failure.
`--folder` keeps the plain tree for the next time.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.operator_cases import ALL, known
from benchmarks.stacks.table import STACKS, mend_mxnet
from layerpack.elf.code import Code
from layerpack.elf.pack import PackOptions, pack
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.elf.strip import Refusal
from layerpack.operators.choose import Choice, Operators
from layerpack.operators.reduce import drops
from layerpack.operators.registry import read_registry
from tests.support.packed_trees import PYTHON, install

_REPOSITORY: Final = Path(__file__).parents[1]
_LIBRARY: Final = "libmxnet.so"
_SECONDS: Final = 600
#: Nothing of this machine, and no bytecode in trees that are compared.
PYTHON_OPTIONS: Final = ("-S", "-s", "-B")
#: So many processes may end in calls; then the operator is given up, which is a failure.
_ENDS: Final = 400
#: What its calls are called that were not made then.
_REST: Final = "the rest"
_SHOWN: Final = 8
#: So often at most what differs is called again in the plain tree: what a thread finds in its
#: scratch memory is another thing in one run of twelve.
_AGAIN: Final = 20
#: What calls for a gradient say with `--inference`.
_UNTRAINED: Final = "remove mxnet.training"
_ZEROING: Final = """
#include <errno.h>
#include <stdlib.h>
#include <string.h>
void *memalign(size_t, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) { return calloc(1, size); }
void *memalign(size_t alignment, size_t size)
{
    void *made = __libc_memalign(alignment, size);
    return made == NULL ? NULL : memset(made, 0, size);
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **made, size_t alignment, size_t size)
{
    *made = memalign(alignment, size);
    return *made == NULL ? ENOMEM : 0;
}
"""
#: What else an operator's programs need (`operator_programs`): by operator.
_NEEDS: Final = {
    "_CachedOp": ("tanh",),
    "_CachedOpThreadSafe": ("tanh",),
    "_CrossDeviceCopy": ("tanh",),
    "_CustomFunction": (),
    "_imdecode": (),
    "_sg_mkldnn_fully_connected": (
        *("FullyConnected", "Activation", "LeakyReLU", "exp", "square", "elemwise_add"),
        *("_contrib_quantize", "_contrib_quantize_v2", "_contrib_dequantize"),
        *(
            "_contrib_requantize",
            "_contrib_quantized_fully_connected",
            "min",
            "max",
            "abs",
            "concat",
        ),
    ),
    "_zeros_without_dtype": ("elemwise_add",),
    "_sg_mkldnn_selfatt_qk": ("_contrib_interleaved_matmul_selfatt_qk",),
    "_sg_mkldnn_selfatt_valatt": ("_contrib_interleaved_matmul_selfatt_valatt",),
}
#: One of each kind, across the families.
OTHERS: Final = (
    *("Convolution", "Deconvolution", "Pooling", "BatchNorm", "GroupNorm", "InstanceNorm", "LRN"),
    *("Activation", "RNN", "Dropout", "SoftmaxOutput", "CTCLoss", "log_softmax", "BilinearSampler"),
    *("_linalg_gemm2", "_linalg_potrf", "_linalg_syevd", "_linalg_gelqf", "_linalg_trsm"),
    *("_linalg_slogdet", "_random_normal", "_random_gamma", "_sample_multinomial", "_shuffle"),
    *("_image_resize", "_image_normalize", "_image_to_tensor", "_contrib_BilinearResize2D"),
    *("cast_storage", "dot", "_sparse_retain", "_square_sum", "_contrib_SparseEmbedding"),
    *("_np_sum", "_npi_einsum", "_npi_svd", "_npi_matmul", "_npi_true_divide", "_npi_where"),
    *("_npi_normal", "_npi_unique", "_npi_pad", "_npi_tensordot", "_contrib_box_nms"),
    *("_contrib_ROIAlign", "_contrib_boolean_mask", "_contrib_DeformableConvolution"),
    *("take", "topk", "gather_nd", "one_hot", "where", "adam_update", "sgd_mom_update"),
    *("multi_sgd_update", "lamb_update_phase1", "gamma", "broadcast_power", "norm"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """How many calls came out the same as values and as errors, what differs, how many calls come
    out otherwise in the plain tree each time (it reads memory that nothing was written to), how
    many ask for gradients that were left out, and how many calls ended both processes."""

    values: int
    errors: int
    different: Mapping[str, tuple[str, str]]
    unsettled: int
    untrained: int
    ended: int


def main() -> int:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("operators", nargs="*", metavar="OPERATOR")
    parser.add_argument("--kept", type=Path, help="a recipe's recording (bert.pages)")
    parser.add_argument("--folder", type=Path, help="where the plain tree is kept")
    parser.add_argument("--inference", action="store_true", help="as with training: false")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        plain = plain_tree(arguments.folder or Path(scratch))
        reducer = Reducer(plain, training=not arguments.inference)
        names = arguments.operators or list(OTHERS)
        if arguments.kept is not None:
            names = list(reducer.kept_by(arguments.kept))
        tried = known() | _NEEDS.keys()
        untried = sorted(set(names) - tried)
        names = [one for one in names if one in tried]
        with ThreadPoolExecutor(1) as pool:
            # The next library is made while this one is tried.
            trees = [
                pool.submit(reducer.tree, [one, *_NEEDS.get(one, ())], Path(scratch) / one)
                for one in names
            ]
            for name, tree in zip(names, trees, strict=True):
                started = time.perf_counter()
                failed += _told(name, compared(plain, tree.result(), name, Path(scratch)), started)
                (tree.result() / "mxnet" / _LIBRARY).unlink()
    print(
        f"{len(names)} operators tried, {failed} failed; not tried: {' '.join(untried) or 'none'}"
    )
    return 1 if failed else 0


def _told(name: str, result: Compared, started: float) -> bool:
    """Print what came out for an operator; whether anything failed."""
    print(
        f"{name}: {result.values} equal values, {result.errors} equal errors, "
        f"{len(result.different)} differ"
        + (f"; {result.unsettled} are never the same in the plain tree" if result.unsettled else "")
        + (f"; {result.untrained} ask for gradients" if result.untrained else "")
        + (f"; {result.ended} calls end both processes" if result.ended else "")
        + f"; {time.perf_counter() - started:.0f} s"
    )
    for call, (left, right) in list(result.different.items())[:_SHOWN]:
        print(f"    {call}\n      plain:   {left}\n      reduced: {right}")
    sys.stdout.flush()
    return bool(result.different) or not result.values


def plain_tree(folder: Path) -> Path:
    """The wheels of MXNet's stack, as they come but for what the recipe mends."""
    tree = folder / "plain"
    if not tree.exists():
        aside = folder / ".plain-new"
        install(aside, STACKS["mxnet"].requirements)
        mend_mxnet(aside)
        aside.rename(tree)
    return tree


class Reducer:
    """Makes trees whose libmxnet.so has few operators. Reads the library's code once."""

    def __init__(self, plain: Path, *, training: bool) -> None:
        self._plain, self._training = plain, training
        self._library = plain / "mxnet" / _LIBRARY
        with tempfile.TemporaryDirectory() as scratch:
            registry = read_registry(
                self._library, [plain / "mxnet"], PYTHON, Path(scratch) / "registry.json"
            )
        self.operators = Operators(Code(self._library), registry, frozenset())

    def choose(self, names: Iterable[str]) -> Choice:
        """What stays with these operators, by any of their names."""
        aliases = self.operators.registry.aliases
        return self.operators.choose([aliases[name] for name in names], training=self._training)

    def kept_by(self, recording: Path) -> Iterator[str]:
        """The operators that stay by a recording, but for those that gradients are made of, which
        are tried with the others."""
        recorded = json.loads(recording.read_text(encoding="utf-8"))["operators"].split()
        return (
            name
            for name in sorted(self.choose(recorded).kept)
            if name not in self.operators.registry.backward
        )

    def tree(self, names: Iterable[str], folder: Path) -> Path:
        """The plain tree's twin, with these operators alone; links to the plain one but for the
        library."""
        choice = self.choose(names)
        (folder / "mxnet").mkdir(parents=True)
        for source in (*self._plain.iterdir(), *(self._plain / "mxnet").iterdir()):
            if source.name not in {"mxnet", _LIBRARY} or source.is_file():
                target = folder / source.relative_to(self._plain)
                if target.name != _LIBRARY:
                    target.symlink_to(source)
        options = PackOptions(level=1, drops=drops(self.operators, choice))
        result = pack(self._library, folder / "mxnet" / _LIBRARY, options)
        if isinstance(result, Refusal):
            sys.exit(f"{self._library} is not packed: {result.reason}")
        (folder / "lib").mkdir()
        (folder / "lib" / PAGER_SONAME).symlink_to(pager_file("x86_64"))
        return folder


def compared(plain: Path, reduced: Path, name: str, scratch: Path) -> Compared:
    """Make the calls in both trees, side by side."""
    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(lambda tree: outcomes(tree, name, scratch), (plain, reduced))
    values = errors = ended = untrained = 0
    different: dict[str, tuple[str, str]] = {}
    for call in {**left, **right}:
        one, other = left.get(call, "not made"), right.get(call, "not made")
        if _UNTRAINED in other:
            untrained += 1
        elif end_of(one) and end_of(one) == end_of(other):
            ended += 1
        elif one != other:
            different[call] = one, other
        elif one.startswith("error"):
            errors += 1
        else:
            values += 1
    settled = different
    # What ends a process is not called again, and is never settled so.
    ends = [call for call, outcome in left.items() if end_of(outcome)]
    for _ in range(_AGAIN):
        if not settled:
            break
        again = outcomes(plain, name, scratch, ends=ends)
        settled = {
            call: both
            for call, both in settled.items()
            if call in (_REST, *ends) or again.get(call) == both[0]
        }
    return Compared(
        values=values,
        errors=errors,
        different=settled,
        unsettled=len(different) - len(settled),
        untrained=untrained,
        ended=ended,
    )


def outcomes(tree: Path, name: str, scratch: Path, *, ends: Collection[str] = ()) -> dict[str, str]:
    """Outcomes of all calls by their names, but for those that are known as `ends`: a process for
    them, and another one for the rest after each call in which one ends."""
    found: dict[str, str] = {}
    ended = dict.fromkeys(ends, "ended: before")
    for _ in range(_ENDS):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            results, known_of = Path(folder) / "results.jsonl", Path(folder) / "known.json"
            results.touch()
            known_of.write_text(json.dumps({"made": list(found), "ended": list(ended)}))
            command = [name, results, known_of]
            how = run(tree, ["-m", "benchmarks.operator_driver", *map(str, command)], Path(folder))
            more = {
                value["id"]: value["outcome"]
                for value in map(json.loads, results.read_text().splitlines())
            }
        complete = more.pop(ALL, None)
        found |= more
        if not how:
            break
        # What works in other threads can end the process when the call has ended.
        last = next(reversed(more), "at the start")
        ended["at the end" if complete else last] = f"ended: {how}"
        if complete or not more:
            break
    else:
        ended[_REST] = f"given up in the {tree.name} tree"
    return found | ended


def end_of(outcome: str) -> str:
    """How the process ended in a call, without what it wrote; empty where it did not."""
    return outcome.split(": ", 2)[1] if outcome.startswith("ended: ") else ""


def run(tree: Path, command: Sequence[str], folder: Path, seconds: float = _SECONDS) -> str:
    """Run the tree's Python; how it ended, with the last lines on stderr: empty for well."""
    try:
        done = subprocess.run(
            [PYTHON, *PYTHON_OPTIONS, *command],
            cwd=folder,
            env=environment(tree),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "time is up"
    if not done.returncode:
        return ""
    lines = [one for one in done.stderr.splitlines() if "Subgraph backend" not in one]
    return f"code {done.returncode}: {' '.join(lines[-3:])}"[:1000]


def environment(tree: Path) -> dict[str, str]:
    """Of the tree's Python: what makes all runs the same, such as one thread for sums."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "OPENBLAS_CORETYPE")
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "LD_LIBRARY_PATH": str(tree / "lib"),
        "PYTHONPATH": os.pathsep.join(map(str, (tree, _REPOSITORY))),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LD_PRELOAD": str(_zeroing()),
    }


@cache
def _zeroing() -> Path:
    """A library that has the C library give memory filled with zeroes: some operators read what
    nothing was written to."""
    folder = Path(tempfile.mkdtemp(prefix="layerpack-benchmark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "libzeroing.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), "-x", "c", "-", "-ldl"]
    subprocess.run(command, input=_ZEROING, text=True, check=True)
    return library


if __name__ == "__main__":
    sys.exit(main())
