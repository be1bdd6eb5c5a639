"""Call one of MXNet's operators in all ways: `python -m benchmarks.operator_driver NAME RESULTS`.

Runs in the interpreter of a tree of packages. The cases are those of `operator_cases`, and then the
programs of `operator_programs` run. Each case goes imperatively, with places for the outputs given,
forward and backward with gradients written and added, as a symbol that is bound, and as a
hybridised block. What an outcome is made of is read and filled in by the C API alone, so no other
operator is called. RESULTS gets a line before each call, `{"id": ..., "outcome": "begun"}`, and one
after it. The third argument, a file of JSON, has the names of calls that other processes have made
already, and of those in which they ended: these are left out.
"""

from __future__ import annotations

import faulthandler
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import mxnet as mx
import numpy as np

from benchmarks.operator_arrays import CONTEXT, array, filled
from benchmarks.operator_cases import ALL, TYPES, Case, Input, cases
from benchmarks.operator_programs import programs
from benchmarks.stacks.results import MARK, digest

#: What is told of calls that have not ended.
BEGUN: Final = "begun"
#: Seconds for a call, after which the process ends.
_PATIENCE: Final = 30
#: Of an error's text: addresses and places are not the same in any two processes.
_TRACE: Final = re.compile(r"\nStack trace:.*", re.DOTALL)
_PLACE: Final = re.compile(r"0x[0-9a-f]+|\[\d\d:\d\d:\d\d\]|/[\w./-]*/mxnet/")
#: A block's ways to be hybridised.
_FLAGS: Final = {
    "cached": (),
    "static": (("static_alloc", "true"), ("static_shape", "true")),
}


def main() -> None:
    """Make all calls."""
    name, path = sys.argv[1:3]
    earlier = json.loads(Path(sys.argv[3]).read_text()) if len(sys.argv) > 3 else {}
    ended = set(earlier.get("ended", ()))
    skipped = ended | set(earlier.get("made", ()))
    with Path(path).open("a", encoding="utf-8") as stream:
        for number, case in enumerate(cases(name)):
            numpy_like = name.startswith("_np") or any(
                not one.shape or 0 in one.shape for one in case.inputs
            )
            for dtype in case.types:
                calls = Calls(name, case, dtype)
                with mx.util.np_shape(numpy_like):
                    # The first call tells which others there are, and can end the process itself.
                    told = f"{number} {_told(case)} {dtype}"
                    _try(stream, f"{told} imperative", calls.imperative, skipped)
                    ways = {} if f"{told} imperative" in ended else calls.ways()
                    for way, call in ways.items():
                        _try(stream, f"{told} {way}", call, skipped)
        for way, call in programs(name):
            _try(stream, f"program {way}", call, skipped)
        _write(stream, ALL, "made")


def _try(stream: Any, identity: str, call: Callable[[], Any], skipped: set[str]) -> None:
    if identity not in skipped:
        _write(stream, identity, BEGUN)
        _write(stream, identity, _outcome(call))


def _told(case: Case) -> str:
    inputs = [f"{one.shape}{one.kind}{one.dtype}{one.storage}" for one in case.inputs]
    return f"{' '.join(inputs)} {case.attributes}".replace("default", "")


def _write(stream: Any, identity: str, outcome: str) -> None:
    stream.write(json.dumps({"id": identity, "outcome": outcome}) + "\n")
    stream.flush()


def _outcome(call: Callable[[], Any]) -> str:
    # An operator that fails while another waits for it can leave MXNet waiting for ever.
    faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    try:
        _forget()
        # Twice the same seed, whatever was called before.
        mx.random.seed(7)
        return digest(_plain(call()))
    except Exception as error:
        text = _PLACE.sub("...", _TRACE.sub("", str(error)))
        return f"{MARK}{type(error).__name__}: {text}"[:1000]
    finally:
        faulthandler.cancel_dump_traceback_later()


def _forget() -> None:
    """Where an operator failed in scratch memory, MXNet keeps the error for the next one that is
    given this memory, until all is waited for."""
    with suppress(mx.base.MXNetError):
        mx.nd.waitall()


def _plain(value: Any) -> Any:
    """Arrays of numpy for those of MXNet, whose parts are read one by one where it is sparse."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in sorted(value.items())}
    stype = getattr(value, "stype", None)
    if stype == "csr":
        return ["csr", *(_plain(one) for one in (value.data, value.indptr, value.indices))]
    if stype == "row_sparse":
        return [stype, value.shape, _plain(value.data), _plain(value.indices)]
    if not hasattr(value, "asnumpy"):
        return value
    if not value.size:
        # Nobody waits for arrays without elements: what makes them may have failed.
        mx.nd.waitall()
    return value.asnumpy()


class Calls:
    """An operator with a case and a data type."""

    def __init__(self, name: str, case: Case, dtype: str) -> None:
        self.name, self.case, self.dtype = name, case, dtype
        self.keys, self.values = list(case.attributes), list(case.attributes.values())
        handle = mx.base.OpHandle()
        text = mx.base.c_str(name)
        mx.base.check_call(mx.base._LIB.NNGetOpHandle(text, mx.base.ctypes.byref(handle)))
        self.handle = handle.value

    def ways(self) -> dict[str, Callable[[], Any]]:
        """What is tried after the first call, by name."""
        found: dict[str, Callable[[], Any]] = {"symbol": self.symbol}
        if "update" in self.name:
            found["in place"] = self.in_place
        try:
            mx.random.seed(7)
            _plain(self.invoke(self.inputs()))
        except Exception:
            # So are all others.
            return found
        found["out"] = self.into
        if self.case.inputs:
            found |= {f"gradients {request}": self._graded(request) for request in ("write", "add")}
            found["simple_bind"] = self.simple_bind
            if self.dtype in TYPES[:2]:
                found["gradients of gradients"] = self.twice
                found["block"] = self.block
        found |= {f"{way} block": self._cached(way) for way in _FLAGS}
        found["inference"] = self.inference
        return found

    def inputs(self) -> list[Any]:
        return [array(one, self.dtype, place) for place, one in enumerate(self.case.inputs)]

    def invoke(self, inputs: list[Any], out: Any = None) -> list[Any]:
        """Call it, as generated functions do."""
        made = mx.nd._internal._imperative_invoke(
            self.handle, inputs, self.keys, self.values, out, False, True
        )
        return made if isinstance(made, list) else [made]

    def composed(self, inputs: list[Any]) -> Any:
        """A symbol, and its inputs by the names of its arguments."""
        creator = mx.symbol._internal._symbol_creator
        made = creator(self.handle, inputs, None, self.keys, self.values, "it", False)
        return mx.sym.Group(made) if isinstance(made, list) else made

    def imperative(self) -> Any:
        inputs = self.inputs()
        return [self.invoke(inputs), inputs]

    def into(self) -> Any:
        """Into arrays that are there, with something in them."""
        like = self.invoke(self.inputs())
        if any(one.stype != "default" for one in like):
            return "not for sparse outputs"
        places = [filled(np.full(one.shape, 3, one.dtype)) for one in like]
        mx.random.seed(7)
        inputs = self.inputs()
        self.invoke(inputs, places)
        return [places, inputs]

    def in_place(self) -> Any:
        """As optimisers call it: the new weights take the place of the old ones."""
        inputs = self.inputs()
        weights = int(self.case.attributes.get("num_weights", "1"))
        self.invoke(inputs, inputs[:: len(inputs) // weights])
        return inputs

    def _heads(self, outputs: list[Any]) -> list[Any]:
        made = [
            Input(shape=one.shape, kind="normal", dtype="", storage="default") for one in outputs
        ]
        return [
            array(one, np.dtype(out.dtype).name, 100 + place)
            for place, (one, out) in enumerate(zip(made, outputs, strict=True))
        ]

    def _places(self, inputs: list[Any]) -> list[Any]:
        """For gradients: ones, which `add` adds to."""
        return [filled(np.ones(one.shape, one.dtype)) for one in inputs]

    def _graded(self, request: str) -> Callable[[], Any]:
        def call() -> Any:
            inputs = self.inputs()
            return self._backward(inputs, lambda: self.invoke(inputs), request)

        return call

    def _backward(self, inputs: list[Any], forward: Callable[[], list[Any]], request: str) -> Any:
        gradients = self._places(inputs)
        mx.autograd.mark_variables(inputs, gradients, request)
        with mx.autograd.record():
            outputs = forward()
        told = _plain(outputs)
        mx.autograd.backward(outputs, self._heads(outputs))
        return [told, gradients, inputs]

    def twice(self) -> Any:
        inputs = self.inputs()
        gradients = self._places(inputs)
        mx.autograd.mark_variables(inputs, gradients)
        with mx.autograd.record():
            outputs = self.invoke(inputs)
            _plain(outputs)
            first = mx.autograd.grad(
                outputs, inputs, self._heads(outputs), create_graph=True, train_mode=True
            )
        mx.autograd.backward(first, self._heads(first))
        return [first, gradients]

    def _variables(self) -> tuple[Any, list[str]]:
        names = [f"x{place}" for place in range(len(self.case.inputs))]
        return self.composed([mx.sym.var(one) for one in names]), names

    def symbol(self) -> Any:
        made, names = self._variables()
        given = dict(zip(names, self.inputs(), strict=True))
        states = made.list_auxiliary_states()
        arguments = {key: one for key, one in given.items() if key not in states}
        found: list[Any] = [made.tojson() if not given else len(names)]
        for request in ("write", "add"):
            gradients = dict(zip(arguments, self._places(list(arguments.values())), strict=True))
            mx.random.seed(7)
            bound = made.bind(
                CONTEXT,
                arguments,
                args_grad=gradients,
                grad_req=request,
                aux_states={key: given[key] for key in states},
            )
            outputs = bound.forward(is_train=bool(given))
            found.append(_plain(outputs))
            if given:
                bound.backward(self._heads(outputs))
                found.append(_plain([gradients, given]))
        return found

    def simple_bind(self) -> Any:
        """What MXNet makes places for, by the shapes and types that it infers."""
        made, names = self._variables()
        if any(one.storage != "default" for one in self.case.inputs):
            return "not for sparse inputs"
        given = dict(zip(names, self.inputs(), strict=True))
        bound = made.simple_bind(
            CONTEXT,
            grad_req="write",
            type_dict={key: one.dtype for key, one in given.items()},
            **{key: one.shape for key, one in given.items()},
        )
        for key, one in {**bound.arg_dict, **bound.aux_dict}.items():
            one._sync_copyfrom(given[key].asnumpy())
        outputs = bound.forward(is_train=True)
        told = _plain(outputs)
        bound.backward(self._heads(outputs))
        return [told, bound.grad_dict, bound.aux_dict, bound.forward(is_train=False)]

    def inference(self) -> Any:
        """Bound without gradients: MXNet then puts operators of oneDNN's in the place of some."""
        made, names = self._variables()
        given = dict(zip(names, self.inputs(), strict=True))
        states = made.list_auxiliary_states()
        bound = made.bind(
            CONTEXT,
            {key: one for key, one in given.items() if key not in states},
            grad_req="null",
            aux_states={key: given[key] for key in states},
        )
        first = _plain(bound.forward(is_train=False))
        if not given or any(one.storage != "default" for one in self.case.inputs):
            return first
        shapes = {key: one.shape for key, one in given.items()}
        types = {key: one.dtype for key, one in given.items()}
        bound = made.simple_bind(CONTEXT, grad_req="null", type_dict=types, **shapes)
        for key, one in {**bound.arg_dict, **bound.aux_dict}.items():
            one._sync_copyfrom(given[key].asnumpy())
        return [first, bound.forward(is_train=False)]

    def _cached(self, way: str) -> Callable[[], Any]:
        def call() -> Any:
            made, names = self._variables()
            cached = mx.nd.CachedOp(made, _FLAGS[way])
            order = [names.index(one) for one in made.list_inputs()]
            found = []
            for request in ("write", "add", "write"):
                inputs = [self.inputs()[place] for place in order]

                def forward(inputs: list[Any] = inputs) -> list[Any]:
                    options = {} if inputs else {"default_ctx": CONTEXT}
                    outputs = cached(*inputs, **options)
                    return outputs if isinstance(outputs, list) else [outputs]

                mx.random.seed(7)
                if inputs:
                    found.append(_plain(self._backward(inputs, forward, request)))
                else:
                    found.append(_plain(forward()))
            return found

        return call

    def block(self) -> Any:
        """A block of Gluon's, which is exported as well."""

        class Block(mx.gluon.HybridBlock):  # type: ignore[misc]
            def hybrid_forward(block, F: Any, x: Any, *more: Any) -> Any:  # noqa: N803, N805
                if isinstance(x, mx.sym.Symbol):
                    return self.composed([x, *more])
                return self.invoke([x, *more])

        inputs = self.inputs()
        made = Block()
        made.hybridize()
        return self._backward(
            inputs, lambda: out if isinstance(out := made(*inputs), list) else [out], "write"
        )


if __name__ == "__main__":
    main()
