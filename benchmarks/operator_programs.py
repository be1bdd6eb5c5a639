"""What MXNet's operators are called by that no caller names: parts of programs that lead to them.

MXNet itself puts these into graphs: blocks that are cached, copies between contexts, functions that
Python defines, what oneDNN does in the place of others. Also here: operators that take no arrays.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final

import mxnet as mx
import numpy as np

from benchmarks.operator_arrays import filled, make
from benchmarks.operator_cases import TYPES

_Programs = Iterator[tuple[str, Callable[[], Any]]]

_FLOATS: Final = ("float32", "float64", "float16")
_BACKENDS: Final = ("MKLDNN", "MKLDNN_QUANTIZE")


def programs(name: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """An operator's programs, by what tells them apart."""
    yield from _PROGRAMS[name]() if name in _PROGRAMS else ()


def _cached() -> _Programs:
    def call(options: tuple[tuple[str, str], ...], dtype: str) -> Any:
        cached = mx.nd.CachedOp(mx.sym.tanh(mx.sym.tanh(mx.sym.var("x"))), options)
        found = []
        for shape, place in (("3,5", 0), ("3,5", 1), ("2,7", 2)):
            x, gradient = make(shape, dtype, place), make(shape, dtype, 9)
            mx.autograd.mark_variables([x], [gradient], "add")
            with mx.autograd.record():
                y = cached(x)
            y.backward(make(shape, dtype, 3))
            found.append([y, gradient, cached(x)])
        return found

    flags = (
        (),
        (("static_alloc", "true"),),
        (("static_alloc", "true"), ("static_shape", "true")),
        (("inline_limit", "0"),),
        (("forward_bulk_size", "1"), ("backward_bulk_size", "1")),
    )
    for options, dtype in product(flags, _FLOATS):
        yield f"{options} {dtype}", partial(call, options, dtype)

    def inner(dtype: str, request: str) -> Any:
        made = _within(mx.sym.tanh(mx.sym.tanh(mx.sym.var("x"))), "tanh")
        if "_CachedOp" not in made.tojson():
            raise LookupError("nothing was put in its place")
        gradient = make("3,5", dtype, 9)
        bound = made.bind(
            mx.cpu(),
            {made.list_arguments()[0]: make("3,5", dtype, 0)},
            args_grad=[gradient],
            grad_req=request,
        )
        outputs = _taken(bound.forward(is_train=True))
        if request != "null":
            bound.backward([make("3,5", dtype, 3)])
        return [outputs, gradient]

    for dtype, request in product(_FLOATS, ("write", "add", "null")):
        yield f"in a graph {dtype} {request}", partial(inner, dtype, request)


def _within(symbol: Any, operator: str) -> Any:
    """A symbol whose calls of an operator are a graph of their own."""
    handle = mx.base.SymbolHandle()
    names = mx.base.c_str_array([operator])
    mx.base.check_call(
        mx.base._LIB.MXBuildSubgraphByOpNames(
            symbol.handle, mx.base.c_str("default"), 1, names, ctypes.byref(handle)
        )
    )
    return mx.sym.Symbol(handle)


def _thread_safe() -> _Programs:
    """By the C API: MXNet's Python has no way to it."""
    library, check = mx.base._LIB, mx.base.check_call

    def call(static: str, dtype: str) -> Any:
        made = mx.sym.tanh(mx.sym.var("x"))
        handle = mx.base.CachedOpHandle()
        options = {"static_alloc": static, "static_shape": static, "data_indices": "(0,)"}
        options["param_indices"] = "()"
        check(
            library.MXCreateCachedOpEX(
                made.handle,
                len(options),
                mx.base.c_str_array(list(options)),
                mx.base.c_str_array(list(options.values())),
                ctypes.byref(handle),
                ctypes.c_bool(True),
            )
        )
        found = []
        for place in range(3):
            x = make("3,5", dtype, place)
            count = ctypes.c_int(0)
            outputs = ctypes.POINTER(mx.base.NDArrayHandle)()
            types = ctypes.POINTER(ctypes.c_int)()
            check(
                library.MXInvokeCachedOpEx(
                    *(handle, 1, mx.base.c_handle_array([x])),
                    *(ctypes.byref(count), ctypes.byref(outputs), ctypes.byref(types)),
                )
            )
            arrays = [
                mx.nd.NDArray(ctypes.cast(outputs[i], mx.base.NDArrayHandle))
                for i in range(count.value)
            ]
            found.append(_taken(arrays))
        check(library.MXFreeCachedOp(handle))
        return found

    for static, dtype in product(("False", "True"), _FLOATS):
        yield f"static {static} {dtype}", partial(call, static, dtype)


def _across() -> _Programs:
    def call(shape: str, dtype: str, request: str) -> Any:
        with mx.AttrScope(ctx_group="one"):
            inner = mx.sym.tanh(mx.sym.var("x"))
        with mx.AttrScope(ctx_group="other"):
            outer = mx.sym.tanh(inner)
        gradient = make(shape, dtype, 1)
        bound = outer.bind(
            mx.cpu(0),
            {"x": make(shape, dtype, 0)},
            args_grad={"x": gradient},
            grad_req=request,
            group2ctx={"one": mx.cpu(0), "other": mx.cpu(1)},
        )
        if "_CrossDeviceCopy" not in bound.debug_str():
            raise LookupError("nothing is copied")
        outputs = _taken(bound.forward(is_train=True))
        bound.backward([make(shape, dtype, 2).as_in_context(mx.cpu(1))])
        return [outputs, gradient]

    for shape, dtype, request in product(("3,5", "2,3,4", "7"), _FLOATS, ("write", "add")):
        identity = f"{shape} {dtype} {request}"
        yield identity, partial(call, shape, dtype, request)


def _defined() -> _Programs:
    class Sine(mx.autograd.Function):  # type: ignore[misc]
        """Of numpy's, so that it needs no operator."""

        def forward(self, x: Any, y: Any) -> Any:
            self.kept = x.asnumpy(), y.asnumpy()
            return filled(np.sin(self.kept[0])), filled(np.cos(self.kept[0]) * self.kept[1])

        def backward(self, first: Any, second: Any) -> Any:
            x, y = self.kept
            first, second = first.asnumpy(), second.asnumpy()
            return filled(np.cos(x) * first - np.sin(x) * y * second), filled(np.cos(x) * second)

    def call(shape: str, dtype: str, request: str) -> Any:
        inputs = [make(shape, dtype, place) for place in range(2)]
        gradients = [make(shape, dtype, place) for place in range(2, 4)]
        mx.autograd.mark_variables(inputs, gradients, request)
        with mx.autograd.record():
            outputs = Sine()(*inputs)
        mx.autograd.backward(list(outputs), [make(shape, dtype, place) for place in range(4, 6)])
        return [*outputs, gradients]

    for shape, dtype, request in product(("3,5", "2,3,4", "7"), _FLOATS, ("write", "add")):
        identity = f"{shape} {dtype} {request}"
        yield identity, partial(call, shape, dtype, request)


def _image() -> bytes:
    """A PNG file of 5 by 4 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = b"".join(
        b"\0" + bytes(7 * (row * 15 + at) % 256 for at in range(15)) for row in range(4)
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _decoded() -> _Programs:
    """By the C API: `mx.nd.imdecode` writes images as Python does bytes."""
    library, check = mx.base._LIB, mx.base.check_call
    function = ctypes.c_void_p()
    check(library.MXGetFunction(mx.base.c_str("_imdecode"), ctypes.byref(function)))

    def call(image: bytes, channels: int, clip: tuple[int, ...], mean: bool, out: str) -> Any:
        size = f"{channels},{clip[3] - clip[1] or 4},{clip[2] - clip[0] or 5}"
        subtracted = make(size, "float32", 0) if mean else mx.nd.NDArray(_empty())
        place = make(out or size, "float32", 1)
        numbers = [float(bool(out)), *map(float, clip), float(channels), float(len(image))]
        check(
            library.MXFuncInvokeEx(
                function,
                mx.base.c_handle_array([subtracted]),
                (ctypes.c_float * len(numbers))(*numbers),
                mx.base.c_handle_array([place]),
                1,
                mx.base.c_str_array(["str_img"]),
                (ctypes.c_char_p * 1)(image),
            )
        )
        return place

    image = _image()
    for channels, clip, mean in product((1, 3), ((0, 0, 0, 0), (1, 1, 4, 3)), (False, True)):
        identity = f"{channels} {clip}{' mean' if mean else ''}"
        yield identity, partial(call, image, channels, clip, mean, "")
        if clip == (0, 0, 0, 0):
            out = f"2,{channels},4,5"
            yield (
                f"{identity} out",
                partial(call, image, channels, clip, mean, out),
            )
    yield "no image", partial(call, b"nothing", 3, (0, 0, 0, 0), False, "")


def _set() -> _Programs:
    def call(shape: str, dtype: str) -> Any:
        place = make(shape, dtype, 0)
        mx.nd._internal._set_value(2.5, out=place)
        return place

    for shape, dtype in product(("3,5", "2,3,4", "7"), TYPES):
        yield f"{shape} {dtype}", partial(call, shape, dtype)


def _of_any_type() -> _Programs:
    """Zeroes whose type the rest of a graph decides: those that MXNet's Python makes have one."""
    handle = mx.base.OpHandle()
    name = mx.base.c_str("_zeros_without_dtype")
    mx.base.check_call(mx.base._LIB.NNGetOpHandle(name, ctypes.byref(handle)))

    def call(dtype: str) -> Any:
        creator = mx.symbol._internal._symbol_creator
        zeroes = creator(handle.value, [], None, ["shape"], ["(3,5)"], "zeroes", False)
        x, gradient = make("3,5", dtype, 0), make("3,5", dtype, 1)
        bound = (zeroes + mx.sym.var("x")).bind(mx.cpu(), {"x": x}, args_grad={"x": gradient})
        outputs = _taken(bound.forward(is_train=True))
        bound.backward([make("3,5", dtype, 2)])
        return [outputs, gradient]

    for dtype in TYPES:
        yield dtype, partial(call, dtype)


def _empty() -> Any:
    handle = mx.base.NDArrayHandle()
    mx.base.check_call(mx.base._LIB.MXNDArrayCreateNone(ctypes.byref(handle)))
    return handle


def _connected() -> _Programs:
    activations = ("relu", "sigmoid", "tanh", "softrelu")
    after: dict[str, Callable[[Any], Any]] = {
        "alone": lambda made: made,
        **{one: partial(mx.sym.Activation, act_type=one) for one in activations},
        "gelu": partial(mx.sym.LeakyReLU, act_type="gelu"),
        "exp": mx.sym.exp,
        "square": mx.sym.square,
        "added": lambda made: made + mx.sym.var("more"),
    }
    shapes = {"x": "2,3,4", "w": "5,12", "b": "5", "more": "2,5"}

    def call(kind: str, backend: str, bias: bool, dtype: str) -> Any:
        names = ["x", "w", *(["b"] if bias else [])]
        made = mx.sym.FullyConnected(
            *map(mx.sym.var, names), num_hidden=5, no_bias=not bias, name="fc"
        )
        made = after[kind](made).get_backend_symbol(backend)
        if "_sg_mkldnn_fully_connected" not in made.tojson():
            raise LookupError("nothing was put in its place")
        names = made.list_inputs()
        arrays = {one: make(shapes[one], dtype, at) for at, one in enumerate(names)}
        bound = made.bind(mx.cpu(), arrays, grad_req="null")
        return [_taken(bound.forward(is_train=False)) for _ in range(2)]

    for kind, backend, bias in product(after, _BACKENDS, (True, False)):
        identity = f"{kind} {backend}{' bias' if bias else ''}"
        yield identity, partial(call, kind, backend, bias, "float32")
    yield "float64", partial(call, "relu", "MKLDNN", True, "float64")

    def quantized(kind: str, to: str, calibrated: str) -> Any:
        made = mx.sym.FullyConnected(mx.sym.var("x"), num_hidden=5, name="fc")
        arguments = {
            "fc_weight": make(shapes["w"], "float32", 0),
            "fc_bias": make(shapes["b"], "float32", 1),
        }
        data = mx.io.NDArrayIter(data={"x": make("4,3,4", "float32", 7)}, batch_size=2)
        options = {} if calibrated == "none" else {"calib_data": data}
        symbol, arguments, others = mx.contrib.quantization.quantize_model_mkldnn(
            after[kind](made),
            arguments,
            {},
            data_names=("x",),
            ctx=mx.cpu(),
            calib_mode=calibrated,
            quantized_dtype=to,
            **options,
        )
        arguments["x"] = make(shapes["x"], "float32", 8)
        bound = symbol.bind(
            mx.cpu(),
            {key: arguments[key] for key in symbol.list_arguments()},
            grad_req="null",
            aux_states=others,
        )
        return _taken(bound.forward(is_train=False))

    for kind, to, how in product(("alone", "relu", "exp"), ("int8", "auto"), ("none", "naive")):
        yield f"quantized {kind} {to} {how}", partial(quantized, kind, to, how)


def _attention(operator: str, inputs: tuple[tuple[str, int], ...]) -> Callable[[], _Programs]:
    def made() -> _Programs:
        def call(shapes: str, heads: int, backend: str, dtype: str) -> Any:
            names = [f"x{at}" for at, _ in enumerate(shapes.split())]
            whole = getattr(mx.sym.contrib, operator)(*map(mx.sym.var, names), heads=heads)
            symbol = whole.get_backend_symbol(backend)
            if "_sg_mkldnn" not in symbol.tojson():
                raise LookupError("nothing was put in its place")
            arrays = {
                one: make(shape, dtype, at)
                for at, (one, shape) in enumerate(zip(names, shapes.split(), strict=True))
            }
            bound = symbol.bind(mx.cpu(), arrays, grad_req="null")
            return [_taken(bound.forward(is_train=False)) for _ in range(2)]

        for (shapes, heads), backend in product(inputs, _BACKENDS):
            identity = f"{shapes} {heads} {backend}"
            yield identity, partial(call, shapes, heads, backend, "float32")
        yield "float64", partial(call, *inputs[0], "MKLDNN", "float64")

    return made


def _taken(outputs: list[Any]) -> list[Any]:
    return [one.asnumpy() for one in outputs]


_PROGRAMS: Final = {
    "_CachedOp": _cached,
    "_CachedOpThreadSafe": _thread_safe,
    "_CrossDeviceCopy": _across,
    "_CustomFunction": _defined,
    "_imdecode": _decoded,
    "_set_value": _set,
    "_sg_mkldnn_fully_connected": _connected,
    "_sg_mkldnn_selfatt_qk": _attention(
        "interleaved_matmul_selfatt_qk", (("5,2,24", 2), ("5,2,24", 4), ("3,1,48", 4))
    ),
    "_sg_mkldnn_selfatt_valatt": _attention(
        "interleaved_matmul_selfatt_valatt",
        (("5,2,24 4,5,5", 2), ("5,2,24 8,5,5", 4), ("3,1,48 4,3,3", 4)),
    ),
    "_zeros_without_dtype": _of_any_type,
}
