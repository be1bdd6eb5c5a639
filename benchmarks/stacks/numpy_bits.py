"""numpy, bit by bit: linear algebra, transforms, random numbers, sorting, functions, threads.

Runs on old Pythons too.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from benchmarks.stacks.results import Results

_THREADS = 16
_LINEAR = "svd inv eig eigvals det qr slogdet pinv matrix_rank cond norm"
_SYMMETRIC = "cholesky eigh eigvalsh"
_ELEMENTWISE = "exp expm1 sin cos tan arctan sinh tanh cbrt rint sign square abs isfinite floor"
_OF_POSITIVE = "log log2 log10 log1p sqrt reciprocal"
_SUMMARIES = "sum mean std var min max argmin argmax cumsum cumprod median ptp sort argsort diff"
_DISTRIBUTIONS = "random normal standard_t gamma beta poisson binomial geometric exponential zipf"


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    np: Any = importlib.import_module("numpy")
    rng = np.random.default_rng(5)
    a, v = rng.normal(size=(70, 70)), rng.normal(size=5000)
    for kind in ("f4", "f8", "c16"):
        _linear(np, results, a.astype(kind), kind)
    for kind in ("f2", "f4", "f8", "i4", "i8"):
        values = (v * (1 if kind[0] == "f" else 100)).astype(kind)
        for name in _ELEMENTWISE.split():
            results.check(f"{name} {kind}", getattr(np, name), values)
        for name in _SUMMARIES.split():
            results.check(f"{name} {kind}", getattr(np, name), values)
        for name in _OF_POSITIVE.split():
            results.check(f"{name} {kind}", getattr(np, name), abs(values) + 1)
    for name in ("fft", "ifft", "rfft", "hfft"):
        for size in (64, 97, 1000):
            results.check(f"{name} {size}", getattr(np.fft, name), v[:size])
    arguments = {
        "standard_t": (4,),
        "gamma": (2,),
        "beta": (2, 3),
        "zipf": (3,),
        "geometric": (0.2,),
    }
    arguments |= {"poisson": (4,), "binomial": (9, 0.3)}
    for generator in ("PCG64", "MT19937", "Philox", "SFC64"):
        drawn = np.random.Generator(getattr(np.random, generator)(7))
        for name in _DISTRIBUTIONS.split():
            results.check(
                f"{generator} {name}", getattr(drawn, name), *arguments.get(name, ()), size=500
            )
        results.check(f"{generator} permutation", drawn.permutation, 900)
    results.check("products", lambda: [np.einsum("ij,jk->ik", a, a), np.kron(a, a[:3]), a @ v[:70]])
    results.check("texts", lambda: np.char.upper(np.sort(v.astype("U12"))))
    results.check("dates", lambda: np.diff((v * 1e6).astype("M8[s]")).astype("m8[h]"))
    results.check("sets", lambda: [np.unique(v.round(1), return_counts=True), np.histogram(v, 30)])
    results.check("polynomials", lambda: [np.polyfit(v[:50], v[50:100], 3), np.roots(v[:9])])
    results.check("no Cholesky", lambda: np.linalg.cholesky(-np.eye(3)))
    results.check("threads", _threads, np, a, v)


def _linear(np: Any, results: Results, a: Any, kind: str) -> None:
    for name in _LINEAR.split():
        results.check(f"{name} {kind}", getattr(np.linalg, name), a)
    symmetric = a @ a.T.conj() + np.eye(len(a), dtype=a.dtype) * len(a)
    for name in _SYMMETRIC.split():
        results.check(f"{name} {kind}", getattr(np.linalg, name), symmetric)
    results.check(f"solve {kind}", np.linalg.solve, a, a.T)
    results.check(f"matmul {kind}", np.matmul, a, a)


def _threads(np: Any, a: Any, v: Any) -> Any:
    """What no one has touched yet, touched by many at once."""
    gate = threading.Barrier(_THREADS)
    found: list[list[Any]] = [[] for _ in range(_THREADS)]
    functions: tuple[Callable[[], Any], ...] = (
        lambda: np.linalg.lstsq(a, v[:70], rcond=None)[0],
        lambda: np.convolve(v, v[:40]),
        lambda: np.lexsort((v, v.round())),
        lambda: np.arcsinh(v),
        lambda: np.random.RandomState(3).vonmises(0, 1, 50),
        lambda: np.partition(v, 90),
    )

    def work(own: list[Any]) -> None:
        for compute in functions:
            gate.wait()
            own.append(compute())

    threads = [threading.Thread(target=work, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    main()
