"""MXNet 1.9.1: symbols, training, errors, elementwise operators, random numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.stacks.mxnet_common import Checks
from benchmarks.stacks.results import Results


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    checks = _Training()
    for name in ("symbols_and_files", "errors", "network"):
        results.check(name, getattr(checks, name))
    groups = (checks.unary, checks.binary, checks.reductions, checks.optimisers, checks.random)
    for group in groups:
        for name, compute in group().items():
            results.check(f"{group.__name__} {name}", compute)


class _Training(Checks):
    """Each public method is a check, or gives checks by name."""

    def symbols_and_files(self) -> Any:
        """A symbol's JSON, shapes, an executor, parameters through a file."""
        mx = self.mx
        sym = mx.sym
        x = sym.Variable("x")
        net = sym.FullyConnected(x, num_hidden=12, name="one")
        net = sym.Activation(net, act_type="relu")
        net = sym.FullyConnected(net, num_hidden=3, name="two")
        net = sym.SoftmaxOutput(net, name="softmax")
        mx.random.seed(3)
        executor = net.simple_bind(mx.cpu(), x=(5, 8), softmax_label=(5,))
        for number, name in enumerate(sorted(executor.arg_dict)):
            shape = executor.arg_dict[name].shape
            executor.arg_dict[name][:] = self.array(*shape, seed=number)
        executor.forward(is_train=True)
        executor.backward()
        grads = {name: executor.grad_dict[name] for name in sorted(executor.grad_dict)}
        mx.nd.save("parameters", {"a": self.array(3, 4), "b": self.array(2)})
        return [
            net.tojson(),
            net.infer_shape(x=(5, 8)),
            executor.outputs,
            grads,
            mx.nd.load("parameters"),
        ]

    def errors(self) -> Any:
        """Exceptions that C++ throws, in the call and in a worker's thread."""
        nd, error = self.mx.nd, self.mx.MXNetError
        found = []
        wrong: tuple[Callable[[], Any], ...] = (
            lambda: nd.dot(self.array(3, 4), self.array(5, 6)),
            lambda: nd.Convolution(self.array(2, 3), self.array(1), kernel=(3, 3), num_filter=1),
            lambda: nd.linalg.potrf(-self.array(3, 3) * 0 - 1).asnumpy(),
            lambda: nd.reshape(self.array(6), (4, 4)),
        )
        for compute in wrong:
            try:
                compute()
                found.append("no error")
            except error as problem:
                if "was left out of this layer" in str(problem):
                    # That is what this check comes to (benchmarks.operators_recorded).
                    raise
                # Below the message stand addresses.
                found.append(str(problem).split("Stack trace", 1)[0].splitlines()[-1])
        return found

    def network(self) -> Any:
        """A small network trained for some steps, hybridised, with all that belongs to it."""
        mx = self.mx
        nn = mx.gluon.nn
        mx.random.seed(12)
        net = nn.HybridSequential()
        net.add(nn.Conv2D(8, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D())
        net.add(nn.Conv2D(16, 3), nn.PReLU(), nn.GlobalAvgPool2D(), nn.Dense(10))
        net.initialize(mx.init.Xavier())
        net.hybridize()
        trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
        x, label = self.array(8, 3, 20, 20), mx.nd.arange(8)
        loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        losses = []
        for _ in range(6):
            with mx.autograd.record():
                value = loss(net(x), label)
            value.backward()
            trainer.step(8)
            losses.append(value.copy())
        return [losses, [one.data() for one in net.collect_params().values()]]

    def unary(self) -> Mapping[str, Callable[[], Any]]:
        """Those that take any number, and those that take positive ones or ones up to 1."""
        anywhere = "abs sign round rint ceil floor trunc fix exp expm1 sin cos tan sinh cosh tanh "
        anywhere += "arctan arcsinh sigmoid relu erf softsign square cbrt degrees radians negative "
        anywhere += "softmax log_softmax hard_sigmoid logical_not smooth_l1 LeakyReLU"
        positive = "sqrt rsqrt rcbrt log log10 log2 log1p gamma gammaln reciprocal"
        inside = "arcsin arccos arctanh erfinv"
        found = {}
        for names, kind in ((anywhere, "any"), (positive, "positive"), (inside, "inside")):
            for name in names.split():
                found[name] = partial(self._unary, name, kind)
        return found

    def _unary(self, name: str, kind: str) -> Any:
        x = self.array(13, 17, positive=kind == "positive")
        if kind == "inside":
            x = self.mx.nd.sin(x) * 0.9
        return self.differentiated(getattr(self.mx.nd, name), x)

    def binary(self) -> Mapping[str, Callable[[], Any]]:
        """Broadcast ones."""
        names = "add sub mul div mod power maximum minimum hypot equal greater lesser logical_and"
        return {
            name: partial(
                self.differentiated,
                getattr(self.mx.nd, f"broadcast_{name}"),
                self.array(5, 1, 7, positive=True),
                self.array(5, 6, 1, seed=2, positive=True),
            )
            for name in names.split()
        }

    def reductions(self) -> Mapping[str, Callable[[], Any]]:
        """Over an axis, and over all."""
        names = "sum mean prod max min nansum nanprod norm"
        return {
            f"{name} {axis}": partial(
                self.differentiated,
                partial(getattr(self.mx.nd, name), **axis),
                self.array(6, 7, 8),
            )
            for name in names.split()
            for axis in ({"axis": 1}, {"axis": 2, "keepdims": True}, {})
        }

    def optimisers(self) -> Mapping[str, Callable[[], Any]]:
        """Some steps of each."""
        names = sorted(self.mx.optimizer.Optimizer.opt_registry)
        return {name: partial(self._optimised, name) for name in names}

    def _optimised(self, name: str) -> Any:
        mx = self.mx
        mx.random.seed(2)
        optimizer = mx.optimizer.create(name, learning_rate=0.01)
        weight = self.array(6, 5)
        state = optimizer.create_state(0, weight)
        for step in range(4):
            optimizer.update(0, weight, self.array(6, 5, seed=step), state)
        return weight

    def random(self) -> Mapping[str, Callable[[], Any]]:
        """Every distribution, after the same seed."""
        arguments: dict[str, dict[str, Any]] = {
            "uniform": {"low": -1, "high": 2},
            "normal": {"loc": 1, "scale": 2},
            "gamma": {"alpha": 2, "beta": 3},
            "exponential": {"scale": 2},
            "poisson": {"lam": 4},
            "negative_binomial": {"k": 5, "p": 0.4},
            "generalized_negative_binomial": {"mu": 2, "alpha": 0.3},
            "randint": {"low": 0, "high": 99},
        }
        found: dict[str, Callable[[], Any]] = {
            name: partial(self._drawn, name, options) for name, options in arguments.items()
        }
        found["shuffle"] = self._shuffled
        found["multinomial"] = self._multinomial
        found["dropout"] = self._dropped
        return found

    def _drawn(self, name: str, options: Mapping[str, Any]) -> Any:
        self.mx.random.seed(99)
        return [getattr(self.mx.nd.random, name)(**options, shape=(50, 20)) for _ in range(2)]

    def _shuffled(self) -> Any:
        self.mx.random.seed(99)
        return self.mx.nd.random.shuffle(self.mx.nd.arange(500))

    def _multinomial(self) -> Any:
        self.mx.random.seed(99)
        chances = self.mx.nd.softmax(self.array(4, 10))
        return self.mx.nd.random.multinomial(chances, shape=(30,))

    def _dropped(self) -> Any:
        self.mx.random.seed(99)
        with self.mx.autograd.record():
            return self.mx.nd.Dropout(self.array(40, 40), p=0.4)


if __name__ == "__main__":
    main()
