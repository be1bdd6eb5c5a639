"""blis: its products and sums, whose wheel carries no tests."""

from __future__ import annotations

import importlib
import itertools
import sys
from functools import partial
from typing import Any

from benchmarks.stacks.results import Results


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    blis: Any = importlib.import_module("blis.py")
    np: Any = importlib.import_module("numpy")
    rng = np.random.default_rng(4)
    sizes = (1, 3, 8, 33, 100, 257)
    for kind, m, k, n in itertools.product(("float32", "float64"), sizes, sizes, sizes):
        a = rng.normal(size=(m, k)).astype(kind)
        b = rng.normal(size=(k, n)).astype(kind)
        results.check(f"gemm {kind} {m} {k} {n}", blis.gemm, a, b)
        # With float64, blis.gemm takes the sizes before transposition, and reads what is not there.
        if kind == "float32":
            turned = partial(blis.gemm, a.T.copy(), b.T.copy(), trans1=True, trans2=True)
            results.check(f"gemm transposed {m} {k} {n}", turned)
    for kind, m, n in itertools.product(("float32", "float64"), sizes, sizes):
        a, x = rng.normal(size=(m, n)).astype(kind), rng.normal(size=n).astype(kind)
        results.check(f"gemv {kind} {m} {n}", blis.gemv, a, x)
        results.check(f"dotv {kind} {m} {n}", blis.dotv, a[0].copy(), a[-1].copy())


if __name__ == "__main__":
    main()
