"""Call operators that were left out, by one route: `python -m benchmarks.operator_gone ROUTE ...`.

Runs in the interpreter of a tree of packages. `imperative`, `symbolic`, `hybridised`, `loaded` and
`imported` are followed by a folder of models and by names of operators; `saved` writes the models
(symbols as JSON, each of one operator), in a tree that has them all. `numpy` needs neither: its
operators are those of `NUMPY`. Prints a line of JSON for each operator, when it has been called:
`{"name": ..., "error": the exception's type, "text": its text}`; no error where it answered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import mxnet as mx
import numpy

from benchmarks.operator_cases import cases
from benchmarks.operator_driver import Calls

#: Operators by how mx.np, mx.npx and arrays of theirs call them.
NUMPY: Final[dict[str, Callable[[Any, Any, Any], Any]]] = {
    "_npi_exp": lambda np, npx, x: np.exp(x),
    "_npi_log": lambda np, npx, x: np.log(x),
    "_npi_sqrt": lambda np, npx, x: np.sqrt(x),
    "_npi_absolute": lambda np, npx, x: np.abs(x),
    "_npi_isnan": lambda np, npx, x: np.isnan(x),
    "_npi_negative": lambda np, npx, x: -x,
    "_npi_subtract": lambda np, npx, x: x - x,
    "_npi_multiply": lambda np, npx, x: np.multiply(x, x),
    "_npi_true_divide": lambda np, npx, x: x / x,
    "_npi_power": lambda np, npx, x: np.power(x, x),
    "_npi_power_scalar": lambda np, npx, x: x**2,
    "_npi_subtract_scalar": lambda np, npx, x: x - 1,
    "_npi_true_divide_scalar": lambda np, npx, x: x / 2,
    "_npi_mod": lambda np, npx, x: np.mod(x, x),
    "_npi_arctan2": lambda np, npx, x: np.arctan2(x, x),
    "_npi_greater": lambda np, npx, x: np.greater(x, x),
    "_npi_less_scalar": lambda np, npx, x: x < 1,
    "_np_dot": lambda np, npx, x: np.dot(x, x),
    "_npi_matmul": lambda np, npx, x: np.matmul(x, x),
    "_npi_einsum": lambda np, npx, x: np.einsum("ij,jk->ik", x, x),
    "_npi_tensordot": lambda np, npx, x: np.tensordot(x, x, axes=([0], [1])),
    "_npi_svd": lambda np, npx, x: np.linalg.svd(x),
    "_npi_cholesky": lambda np, npx, x: np.linalg.cholesky(x),
    "_npi_solve": lambda np, npx, x: np.linalg.solve(x, x),
    "_npi_eigvalsh": lambda np, npx, x: np.linalg.eigvalsh(x),
    "_npi_mean": lambda np, npx, x: x.mean(),
    "_npi_std": lambda np, npx, x: np.std(x),
    "_npi_argmax": lambda np, npx, x: x.argmax(),
    "_np_cumsum": lambda np, npx, x: np.cumsum(x),
    "_np_roll": lambda np, npx, x: np.roll(x, 1),
    "_npi_concatenate": lambda np, npx, x: np.concatenate([x, x]),
    "_npi_pad": lambda np, npx, x: np.pad(x, ((1, 1), (0, 2))),
    "_npi_unique": lambda np, npx, x: np.unique(x),
    "_npi_flip": lambda np, npx, x: np.flip(x),
    "_npi_tril": lambda np, npx, x: np.tril(x),
    "_npi_arange": lambda np, npx, x: np.arange(5),
    "_npi_eye": lambda np, npx, x: np.eye(3),
    "_npi_logspace": lambda np, npx, x: np.logspace(0, 1, 5),
    "_npi_normal": lambda np, npx, x: np.random.normal(size=(3,)),
    "_npi_uniform": lambda np, npx, x: np.random.uniform(size=(3,)),
    "_npi_gamma": lambda np, npx, x: np.random.gamma(2.0, size=(3,)),
    "_npx_relu": lambda np, npx, x: npx.relu(x),
    "_npx_sigmoid": lambda np, npx, x: npx.sigmoid(x),
    "topk": lambda np, npx, x: npx.topk(x),
    "one_hot": lambda np, npx, x: npx.one_hot(x, 3),
    "pick": lambda np, npx, x: npx.pick(x, x[0]),
    "Pooling": lambda np, npx, x: npx.pooling(x, kernel=(2, 2)),
    "Convolution": lambda np, npx, x: npx.convolution(
        x, x, kernel=(1, 1), num_filter=1, no_bias=True
    ),
}


def main() -> None:
    """Call them."""
    route = sys.argv[1]
    names = list(NUMPY) if route == "numpy" else sys.argv[3:]
    for name in names:
        told = {"name": name, "error": "", "text": ""}
        try:
            if route == "numpy":
                _numpy(name)
            else:
                _ROUTES[route](Routes(name, Path(sys.argv[2])))
            mx.nd.waitall()
        except Exception as error:
            told |= {"error": type(error).__name__, "text": str(error)[:1000]}
        print(json.dumps(told), flush=True)


def _numpy(name: str) -> None:
    mx.npx.set_np()
    values = numpy.array([[4, 1], [1, 3]], "float32")
    found = NUMPY[name](mx.np, mx.npx, mx.np.array(values))
    for one in found if isinstance(found, list | tuple) else [found]:
        one.asnumpy()


class Routes(Calls):
    """An operator's first case with float32, by each route."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, next(cases(name)), "float32")
        self.path = folder / f"{name}-symbol.json"

    def saved(self) -> None:
        self._variables()[0].save(str(self.path))

    def hybridised(self) -> None:
        if self.case.inputs:
            self.block()
        self._cached("static")()

    def loaded(self) -> None:
        made = mx.sym.load(str(self.path))
        given = dict(zip(self._names(), self.inputs(), strict=True))
        states = made.list_auxiliary_states()
        made.bind(
            mx.cpu(),
            {key: one for key, one in given.items() if key not in states},
            aux_states={key: given[key] for key in states},
        ).forward()[0].asnumpy()

    def imported(self) -> None:
        block = mx.gluon.SymbolBlock.imports(str(self.path), self._names())
        block.hybridize()
        block(*self.inputs())

    def _names(self) -> list[str]:
        return [f"x{place}" for place in range(len(self.case.inputs))]


_ROUTES: Final[dict[str, Callable[[Routes], Any]]] = {
    "saved": Routes.saved,
    "imperative": Routes.imperative,
    "symbolic": Routes.symbol,
    "hybridised": Routes.hybridised,
    "loaded": Routes.loaded,
    "imported": Routes.imported,
}

if __name__ == "__main__":
    main()
