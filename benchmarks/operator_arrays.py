"""Arrays that MXNet's operators are called with. No operator is called to make them."""

from __future__ import annotations

import zlib
from typing import Any, Final

import mxnet as mx
import numpy as np

from benchmarks.operator_cases import Input, as_input

CONTEXT: Final = mx.cpu()


def make(text: str, dtype: str, place: int) -> Any:
    """The array of an input as `operator_cases` writes it."""
    return array(as_input(text), dtype, place)


def filled(values: Any) -> Any:
    """An array of MXNet's with numpy's values."""
    made = mx.nd.empty(values.shape, CONTEXT, values.dtype)
    made._sync_copyfrom(values)
    return made


def _values(one: Input, dtype: str, place: int) -> Any:  # noqa: PLR0912 (a branch a kind)
    """The same for the same input at the same place."""
    dtype = one.dtype or dtype
    random = np.random.RandomState(zlib.crc32(repr((one.shape, one.kind, place)).encode()))
    kind = one.kind.rstrip("0123456789")
    number = one.kind[len(kind) :]
    values: Any
    if kind == "index":
        values = random.randint(0, int(number), one.shape)
    elif kind == "length":
        values = random.randint(1, int(number) + 1, one.shape)
    elif kind == "sign":
        values = random.randint(0, 2, one.shape)
    elif kind == "definite":
        square = random.normal(size=one.shape)
        values = square @ np.swapaxes(square, -1, -2) + 3 * np.eye(one.shape[-1])
    else:
        values = random.normal(size=one.shape)
        if dtype.startswith(("int", "uint")) and kind in {"normal", "nonzero"}:
            values = np.round(values * 4)
        if kind in {"positive", "below", "weights", "unit", "percent"}:
            values = np.abs(values) + 0.1
        if kind == "nonzero":
            values = np.where(np.round(values * 4) == 0, 3, values)
        elif kind == "below":
            values = -values
        elif kind == "weights":
            values = values / values.sum(axis=-1, keepdims=True)
        elif kind == "unit":
            values = values / (1 + values)
        elif kind == "percent":
            values = values / (1 + values) * 100
    if one.storage != "default" or kind == "sparse":
        values = values * (random.uniform(size=one.shape) < 0.4)
        values[1] = 0
    if dtype == "uint8":
        values = np.abs(values)
    return np.asarray(values).astype(dtype)


def array(one: Input, dtype: str, place: int) -> Any:
    """An input, of its storage type."""
    values = _values(one, dtype, place)
    if one.storage == "csr":
        rows, columns = values.nonzero()
        return mx.nd.sparse.csr_matrix(
            (
                filled(values[rows, columns]),
                filled(columns.astype("int64")),
                filled(np.searchsorted(rows, np.arange(len(values) + 1)).astype("int64")),
            ),
            shape=one.shape,
            dtype=values.dtype,
        )
    if one.storage == "row_sparse":
        rows = values.any(axis=1).nonzero()[0]
        return mx.nd.sparse.row_sparse_array(
            (filled(values[rows]), filled(rows.astype("int64"))),
            shape=one.shape,
            dtype=values.dtype,
        )
    return filled(values)
