"""blis: how far its products are from exact ones, which is within bounds whatever kernel runs.

No variable holds BLIS to a kind of processor, so that a library that has fewer kernels is measured
by this. Each element of a product of `k` terms is off by at most gamma times the sum of the terms'
magnitudes, gamma = k u / (1 - k u) with u half of the type's epsilon, in whatever order they are
added (Higham, Accuracy and Stability of Numerical Algorithms, 3.1 and 3.5).
"""

from __future__ import annotations

import importlib
import itertools
import sys
from typing import Any

from benchmarks.stacks.results import Results


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    blis: Any = importlib.import_module("blis.py")
    np: Any = importlib.import_module("numpy")
    rng = np.random.default_rng(4)

    def within(product: Any, a: Any, b: Any) -> bool:
        # On x86_64 a longdouble has 11 bits more than a double.
        exact_a, exact_b = a.astype(np.longdouble), b.astype(np.longdouble)
        rounded = a.shape[-1] * np.finfo(a.dtype).eps / 2
        bound = rounded / (1 - rounded) * (abs(exact_a) @ abs(exact_b)) * (1 + 2.0**-10)
        return bool((abs(product - exact_a @ exact_b) <= bound).all())

    sizes = (1, 3, 8, 33, 100, 257)
    for kind, m, k, n in itertools.product(("float32", "float64"), sizes, sizes, sizes):
        a = rng.normal(size=(m, k)).astype(kind)
        b = rng.normal(size=(k, n)).astype(kind)
        results.check(f"gemm {kind} {m} {k} {n}", lambda a=a, b=b: within(blis.gemm(a, b), a, b))
    for kind, m, n in itertools.product(("float32", "float64"), sizes, sizes):
        a, x = rng.normal(size=(m, n)).astype(kind), rng.normal(size=n).astype(kind)
        results.check(f"gemv {kind} {m} {n}", lambda a=a, x=x: within(blis.gemv(a, x), a, x))
        results.check(
            f"dotv {kind} {m} {n}", lambda a=a, x=x: within(blis.dotv(a[0].copy(), x), a[:1], x)
        )


if __name__ == "__main__":
    main()
