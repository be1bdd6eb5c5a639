"""MXNet with few operators: what stays works as ever, and what is gone says so, however called."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from layerpack.interpreters import require_interpreter
from layerpack.operators.choose import USES
from layerpack.operators.registry import kept_registry, read_registry
from layerpack.recipe import Recipe
from tests.support.command import Ended, layerpack

pytestmark = pytest.mark.recipe

_BERT = Path(__file__).parents[2] / "recipes/bert.yaml"
#: A layer of a network, as HybridBlock.export writes it.
_SYMBOL: dict[str, Any] = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "weight", "inputs": []},
        {
            "op": "FullyConnected",
            "name": "dense",
            "attrs": {"num_hidden": "3", "no_bias": "True", "flatten": "False"},
            "inputs": [[0, 0, 0], [1, 0, 0]],
        },
        {"op": "SequenceReverse", "name": "turned", "inputs": [[2, 0, 0]]},
    ],
    "arg_nodes": [0, 1],
    "node_row_ptr": [0, 1, 2, 3, 4],
    "heads": [[3, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10901]},
}
#: A pooling layer, of which no recipe here knows.
_POOLING = {
    **_SYMBOL,
    "nodes": [
        _SYMBOL["nodes"][0],
        {
            "op": "Pooling",
            "name": "pool",
            "attrs": {"kernel": "(2, 2)", "pool_type": "max"},
            "inputs": [[0, 0, 0]],
        },
    ],
    "arg_nodes": [0],
    "node_row_ptr": [0, 1, 2],
    "heads": [[1, 0, 0]],
}
_RECIPE = {
    "name": "few",
    "runtime": "python3.12",
    "requirements": ["mxnet==1.9.1", "numpy<2", "packaging"],
    "assets": [{"name": "net", "file": "net-symbol.json"}],
    "strip": {"bytecode": "none"},
    "native": {"store": "paged", "level": 3},
}
_OPERATORS = ["softmax", "Convolution"]

_HEAD = """
import json, sys
import mxnet as mx
import numpy as np

def error(call):
    try:
        call()
        mx.nd.waitall()
    except mx.base.MXNetError as problem:
        return str(problem).strip().splitlines()[-1].removeprefix("MXNetError: ")
    return None

told = {}
given = json.loads(sys.stdin.read())
"""
_KEPT = """
for dtype in ("float16", "float32", "float64"):
    x = mx.nd.array(given["x"], dtype=dtype)
    told[f"softmax {dtype}"] = mx.nd.softmax(x, axis=1).asnumpy().tolist()
x, w = mx.nd.array(given["image"]), mx.nd.array(given["kernel"])
x.attach_grad(), w.attach_grad()
with mx.autograd.record():
    y = mx.nd.Convolution(x, w, kernel=(2, 2), num_filter=2, no_bias=True)
y.backward()
told["convolution"] = [one.asnumpy().tolist() for one in (y, x.grad, w.grad)]
block = mx.gluon.SymbolBlock.imports(given["symbol"], ["data"])
block.collect_params().initialize()
block.collect_params()["weight"].set_data(mx.nd.array(given["weight"]))
block.hybridize()
told["model"] = block(mx.nd.array(given["data"])).asnumpy().tolist()
"""
_GONE = """
x = mx.nd.array(given["image"])
told["imperative"] = error(lambda: mx.nd.Pooling(x, kernel=(2, 2)))
told["numpy"] = error(lambda: mx.npx.pooling(x.as_np_ndarray(), kernel=(2, 2)))
told["symbolic"] = error(
    lambda: mx.sym.Pooling(mx.sym.var("data"), kernel=(2, 2)).bind(mx.cpu(), {"data": x}).forward()
)

def hybridised():
    block = mx.gluon.nn.MaxPool2D()
    block.hybridize()
    return block(x)

told["hybridised"] = error(hybridised)
told["loaded"] = error(lambda: mx.sym.load_json(given["pooling"]).bind(mx.cpu(), {"data": x}))
told["imported"] = error(
    lambda: mx.gluon.SymbolBlock(mx.sym.load_json(given["pooling"]), [mx.sym.var("data")])(x)
)
told["optimiser"] = error(lambda: mx.nd.adam_update(x, x, x, x, lr=0.1))
told["random"] = error(lambda: mx.nd.random.normal(shape=(2,)))
# The process goes on, and what stays does.
told["names"] = ["Pooling" in dir(mx.nd), "pool" in (mx.nd.Pooling.__doc__ or "")]
told["after"] = mx.nd.softmax(mx.nd.array(given["x"]), axis=1).asnumpy().tolist()
"""


@dataclass(frozen=True, kw_only=True)
class Few:
    """A build of MXNet with few operators, unzipped to `opt`."""

    recipe: Path
    cache: Path
    build: Path
    opt: Path

    def told(self, script: str, **given: object) -> dict[str, Any]:
        """What a script says in an interpreter that has the layers alone."""
        python = require_interpreter(Recipe.load(self.recipe).profile, "to run MXNet")
        site = self.opt / "python/lib/python3.12/site-packages"
        path = site if site.exists() else self.opt / "python"
        ended = subprocess.run(
            [python, "-S", "-s", "-B", "-c", f"{_HEAD}{script}\nprint(json.dumps(told))"],
            env={"PYTHONPATH": str(path), "LD_LIBRARY_PATH": str(self.opt / "lib")},
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        value: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return value

    def explain(self, *arguments: str) -> Ended:
        """`layerpack explain` of it."""
        return layerpack(
            *("explain", *arguments, "--build", str(self.build)),
            folder=self.recipe.parent,
            cache=self.cache,
        )


def _recipe(folder: Path, operators: list[str]) -> Path:
    patches = [
        one for one in yaml.safe_load(_BERT.read_text())["patches"] if one["package"] == "mxnet"
    ]
    (folder / "net-symbol.json").write_text(json.dumps(_SYMBOL))
    path = folder / "few.yaml"
    path.write_text(
        yaml.safe_dump({**_RECIPE, "patches": patches, "mxnet": {"operators": operators}})
    )
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Few:
    """The build."""
    home = tmp_path_factory.mktemp("few")
    recipe = _recipe(home, _OPERATORS)
    ended = layerpack("build", recipe, "-o", home / "build", folder=home, cache=home / "cache")
    assert ended.code == 0, ended.errors
    assert "warning" not in ended.errors
    for layer in sorted((home / "build/layers").iterdir()):
        subprocess.run(["unzip", "-q", layer, "-d", home / "opt"], check=True)
    return Few(recipe=recipe, cache=home / "cache", build=home / "build", opt=home / "opt")


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """What the operators are given."""
    random = np.random.RandomState(4)
    return {
        "x": random.normal(size=(3, 5)).round(2).tolist(),
        "image": random.normal(size=(1, 2, 4, 4)).round(2).tolist(),
        "kernel": random.normal(size=(2, 2, 2, 2)).round(2).tolist(),
        "weight": random.normal(size=(3, 4)).round(2).tolist(),
        "data": random.normal(size=(2, 5, 4)).round(2).tolist(),
        "pooling": json.dumps(_POOLING),
    }


def _softmax(x: Any) -> Any:
    powers = np.exp(np.array(x) - np.max(x, axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_what_stays_computes_as_ever(few: Few, values: dict[str, Any]) -> None:
    (symbol,) = few.opt.glob("assets/net/*.json")
    told = few.told(_KEPT, **values, symbol=str(symbol))
    expected = _softmax(values["x"])
    for dtype, tolerance in (("float16", 2e-3), ("float32", 1e-6), ("float64", 1e-12)):
        assert np.abs(np.array(told[f"softmax {dtype}"]) - expected).max() < tolerance
    x, w = np.array(values["image"])[0], np.array(values["kernel"])
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
    outputs, gradient, weights = (np.array(one) for one in told["convolution"])
    assert np.allclose(outputs[0], np.einsum("cijkl,fckl->fij", windows, w), atol=1e-5)
    assert np.allclose(weights, np.broadcast_to(windows.sum(axis=(1, 2)), w.shape), atol=1e-5)
    expected = np.zeros_like(x)
    for row in range(3):
        for column in range(3):
            expected[:, row : row + 2, column : column + 2] += w.sum(axis=0)
    assert np.allclose(gradient[0], expected, atol=1e-5)
    dense = np.array(values["data"]) @ np.array(values["weight"]).T
    assert np.allclose(np.array(told["model"]), dense[::-1], atol=1e-5)


def test_what_is_gone_says_so_however_it_is_called(few: Few, values: dict[str, Any]) -> None:
    told = few.told(_GONE, **values)
    assert np.allclose(np.array(told.pop("after")), _softmax(values["x"]), atol=1e-6)
    assert told.pop("names") == [True, True]
    names = {"optimiser": "adam_update", "random": "_random_normal"}
    for route, text in told.items():
        name = names.get(route, "Pooling")
        assert text == (
            f"MXNet's operator {name} was left out of this layer: add it to mxnet.operators in the "
            "recipe, and build again"
        ), route


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("softmax", "It stays: the recipe names it."),
        ("FullyConnected", "It stays: assets/net/net-symbol.json names it."),
        ("Pooling", "It is left out: nothing asks for it."),
        ("_zeros", "It stays: MXNet itself uses it."),
    ],
)
def test_the_reason_is_told(few: Few, name: str, state: str) -> None:
    ended = few.explain("operator", name)
    assert ended.code == 0, ended.errors
    lines = [line.strip() for line in ended.output.splitlines()]
    assert lines[0].endswith("mxnet/libmxnet.so")
    assert lines[1].startswith(f"operator {name}")
    assert lines[2] == state


def test_what_each_costs_is_told(few: Few) -> None:
    ended = few.explain("operator", "--format", "json")
    (library,) = json.loads(ended.output)["libraries"]
    parts = {part["name"]: part for part in library["parts"]}
    assert len(parts) > 800
    assert {"softmax", "Convolution", "FullyConnected", "SequenceReverse"} <= {
        name for name, part in parts.items() if part["kept"]
    }
    # Nearly half of MXNet's code, and what would take it back is told of each.
    assert library["dropped_bytes"] > library["code_bytes"] * 0.45
    assert parts["_npi_einsum"]["code_bytes"] > 1_000_000


def test_what_is_there_for_others_sake_costs_nothing(few: Few) -> None:
    ended = few.explain("operator", "--format", "json")
    (library,) = json.loads(ended.output)["libraries"]
    shared = [x for x in library["parts"] if x["reason"] == "its code is shared with what stays"]
    assert shared
    assert {one["code_bytes"] for one in shared} == {0}


def test_all_that_mxnet_is_said_to_use_is_there(few: Few) -> None:
    ended = few.explain("operator", "--format", "json")
    (library,) = json.loads(ended.output)["libraries"]
    names = {name for part in library["parts"] for name in (part["name"], *part["aliases"])}
    instead = [x for pair in USES["instead"].items() for x in (pair[0], *pair[1])]
    assert {*USES["framework"], *instead} <= names
    kept = {part["name"]: part["reason"] for part in library["parts"] if part["kept"]}
    assert kept["_sg_mkldnn_conv"] == "it takes the place of Convolution"


def test_the_registry_is_the_same_for_everybody(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library,) = few.cache.glob("unpacked/*/files/**/mxnet/libmxnet.so")
    folders = [library.parent, few.opt / "lib"]
    python = require_interpreter(Recipe.load(few.recipe).profile, "to run MXNet")
    first = read_registry(library, folders, python, tmp_path / "first.json")
    # Another heap, another Python.
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PADDING", "x" * 9000)
    second = read_registry(
        library, [*folders, tmp_path], Path(sys.executable), tmp_path / "second.json"
    )
    assert first == second
    # What computes a gradient names the operator that does: without it that one would go.
    (gradient,) = [x for x in first.operators["log"] if x.attribute == "FGradient"]
    code = library.read_bytes()
    assert any(code[word:].startswith(b"_backward_log\0") for word in gradient.words)


def test_a_damaged_registry_is_made_anew(few: Few, tmp_path: Path) -> None:
    kept = tmp_path / "registry.json"
    for damaged in ("", "{", "[]", '{"operators": {}}', '{"operators": {"x": {"y": [[1]]}}}'):
        kept.write_text(damaged)
        assert kept_registry(kept) is None


def test_a_name_that_there_is_not(few: Few, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, ["Convolutoin"])
    ended = layerpack("build", recipe, folder=tmp_path, cache=few.cache)
    assert ended.code == 4
    assert "MXNet has no operator 'Convolutoin'" in ended.errors
    assert "Did you mean 'Convolution'?" in ended.errors
    assert "Traceback" not in ended.errors
