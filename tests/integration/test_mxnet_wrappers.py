"""MXNet itself, with the functions of its operators made once: nothing that can be seen differs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from layerpack.interpreters import require_interpreter
from layerpack.recipe import Recipe
from tests.support.code import compiled
from tests.support.command import layerpack

pytestmark = pytest.mark.recipe

_ROOT = Path(__file__).parents[2]
_WALK = _ROOT / "tests/support/module_walk.py"
#: What is ours in MXNet: a name in either register.py, and what takes functions by it.
_OURS = {
    ("mxnet.ndarray.register", "_layerpack_made"),
    ("mxnet.symbol.register", "_layerpack_made"),
    ("mxnet.library", "_make_ndarray_function"),
    ("mxnet.library", "_make_symbol_function"),
}
#: What was made and not taken, for either kind.
_LEFT = """
import inspect, json
import mxnet as mx
spaces = [inspect.getclosurevars(module.register._layerpack_made) for module in (mx.nd, mx.sym)]
print(json.dumps([list(space.nonlocals["made"]) if space.nonlocals else None for space in spaces]))
"""
#: Calls of every kind, and what they give.
_CALLS = """
import json, pickle, pydoc, re
import mxnet as mx
from mxnet import gluon, autograd

def numbers(array):
    return array.asnumpy().round(5).tolist()

def message(call):
    try:
        return str(call())
    except Exception as error:
        text = f"{type(error).__name__}: {error}".partition("Stack trace")[0]
        return re.sub("0x[0-9a-f]+|[0-9]+:[0-9]+:[0-9]+", "", text)

space = {}
exec("from mxnet.ndarray import *", space)
stars = {}
exec("from mxnet.symbol import *", stars)
mx.random.seed(3)
x = mx.nd.array([[-1, 0, 2], [3, -4, 5]])
told = {
    "nd": [numbers(mx.nd.relu(x)), numbers(mx.nd.concat(x, x, dim=1)), numbers(space["tanh"](x)),
           numbers(mx.nd.FullyConnected(x, mx.nd.ones((2, 3)), num_hidden=2, no_bias=True)),
           numbers(mx.nd.cast(x, dtype="int32")), numbers(mx.nd.sum(x, axis=1, out=mx.nd.ones(2)))],
    "parts": [numbers(mx.nd.contrib.box_iou(mx.nd.ones((1, 4)), mx.nd.ones((1, 4)))),
              numbers(mx.nd.linalg.gemm2(x, x.T)), numbers(mx.nd.random.normal(shape=3)),
              numbers(mx.nd.image.to_tensor(mx.nd.ones((2, 2, 3)))),
              numbers(mx.nd.sparse.retain(x.tostype("row_sparse"), mx.nd.array([1]))),
              numbers(mx.contrib.nd.quadratic(x, a=1, b=2, c=3)),
              numbers(mx.nd._internal._plus_scalar(x, scalar=2))],
    "sym": [stars["FullyConnected"](mx.sym.var("x"), num_hidden=2, name="f").tojson(),
            mx.sym.concat(mx.sym.var("x"), mx.sym.var("y"), dim=0, name="c").tojson(),
            mx.sym.relu(mx.sym.var("x")).name, mx.sym.contrib.box_nms(mx.sym.var("x")).name],
    "np": [numbers(mx.np.dot(mx.np.ones((2, 3)), mx.np.ones((3, 2)))),
           numbers(mx.np.linalg.norm(mx.np.ones(4))), numbers(mx.np.split(mx.np.arange(4), 2)[1]),
           numbers(mx.npx.relu(mx.np.array([-1.0, 2.0]))), numbers(mx.npx.topk(mx.np.arange(5)))],
    "errors": [message(lambda: mx.nd.relu([1])), message(lambda: mx.nd.relu(mx.np.ones(1))),
               message(lambda: mx.npx.relu(x)), message(lambda: mx.sym.relu(x)),
               message(lambda: mx.nd.Activation(x, act_type="odd")),
               message(lambda: mx.nd.relu(x, 1, 2, 3, 4))],
    "pickled": [message(lambda: pickle.loads(pickle.dumps(one)) is one)
                for one in (mx.nd.linalg.gemm2, mx.nd.contrib.box_iou, mx.np.dot, mx.nd.dot)],
    "help": pydoc.plain(pydoc.render_doc(mx.nd.Convolution)),
}
net = gluon.nn.HybridSequential()
net.add(gluon.nn.Dense(4, activation="relu"), gluon.nn.LayerNorm(), gluon.nn.Dense(1))
net.initialize(mx.init.Xavier())
answers = [numbers(net(x))]
net.hybridize()
with autograd.record():
    answer = net(x)
answer.backward()
told["gluon"] = [*answers, numbers(answer), numbers(net[0].weight.grad())]
assert told["gluon"][0] == told["gluon"][1], told["gluon"]
print(json.dumps(told))
"""
#: An operator of a library that is loaded at run time.
_OPERATOR = """
#include "mxnet/lib_api.h"
using namespace mxnet::ext;
typedef std::unordered_map<std::string, std::string> Attributes;
typedef std::vector<std::vector<unsigned>> Shapes;
MXReturnValue forward(const Attributes &, std::vector<MXTensor> *in, std::vector<MXTensor> *out,
                      const OpResource &) {
    for (int64_t i = 0; i < in->at(0).size(); i++)
        out->at(0).data<float>()[i] = in->at(0).data<float>()[i] * 3;
    return MX_SUCCESS;
}
MXReturnValue parse(const Attributes &, int *in, int *out) { *in = *out = 1; return MX_SUCCESS; }
MXReturnValue types(const Attributes &, std::vector<int> *in, std::vector<int> *out) {
    out->at(0) = in->at(0);
    return MX_SUCCESS;
}
MXReturnValue shapes(const Attributes &, Shapes *in, Shapes *out) {
    out->at(0) = in->at(0);
    return MX_SUCCESS;
}
REGISTER_OP(tripled).setForward(forward, "cpu").setParseAttrs(parse).setInferType(types)
    .setInferShape(shapes);
MXReturnValue initialize(int) { return MX_SUCCESS; }
"""
_LOADED = """
import json, sys
import mxnet as mx
before = mx.nd.relu
mx.library.load(sys.argv[1], False)
x = mx.nd.array([1, -2])
print(json.dumps({
    "calls": [mx.nd.tripled(x).asnumpy().tolist(), mx.sym.tripled(mx.sym.var("x")).name,
              mx.nd.relu(x).asnumpy().tolist()],
    "doc": mx.nd.tripled.__doc__, "again": mx.nd.relu is before,
    "all": [mx.nd.op.__all__, mx.sym.op.__all__, mx.nd.contrib.__all__],
}))
"""
#: Leaves an operator out of what was made, as if the library had one more.
_FEWER = """
import marshal, sys
with open(sys.argv[1], "rb") as stream:
    data = stream.read()
version, forms, made = marshal.loads(data[4:])
del made["tanh"]
with open(sys.argv[1], "wb") as stream:
    stream.write(data[:4] + marshal.dumps((version, forms, made)))
print("null")
"""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The layers of a build, unzipped, and what can be run with them."""

    opt: Path
    python: Path

    @property
    def mxnet(self) -> Path:
        return self.opt / "python/mxnet"

    def told(self, *arguments: str | Path) -> Any:
        """The JSON that a program of the target's Python prints."""
        run = subprocess.run(
            [self.python, "-s", "-S", "-B", *arguments],
            env={
                "PYTHONPATH": str(self.opt / "python"),
                "LD_LIBRARY_PATH": str(self.opt / "lib"),
                "PYTHONHASHSEED": "0",
            },
            cwd=self.opt,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def left(self) -> list[object]:
        """What was made and an import does not take, for either kind; None where it takes none."""
        found: list[object] = self.told("-c", _LEFT)
        return found


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Tree]:
    """MXNet's layers as MXNet makes its functions, and with those that were made before."""
    folder = tmp_path_factory.mktemp("mxnet")
    bert = yaml.safe_load((_ROOT / "recipes/bert.yaml").read_text())
    patches = [patch for patch in bert["patches"] if patch["package"] == "mxnet"]
    found = []
    for wrappers in (False, True):
        recipe = {
            "name": f"with-{wrappers}",
            "runtime": "python3.12",
            "requirements": ["mxnet==1.9.1", "numpy<2", "packaging"],
            "patches": patches,
            # Headers stay for the library of an operator.
            "strip": {"bytecode": "none", "sources": False},
            "mxnet": {"wrappers": wrappers},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        ended = layerpack("build", "recipe.yaml", folder=folder, cache=folder / "cache")
        assert ended.code == 0, ended.errors
        assert "every start" not in ended.errors
        opt = folder / f"opt-{wrappers}"
        for layer in sorted(folder.glob(f"build/with-{wrappers}/layers/*.zip")):
            subprocess.run(["unzip", "-qo", str(layer), "-d", str(opt)], check=True)
        profile = Recipe.load(folder / "recipe.yaml").profile
        found.append(Tree(opt=opt, python=require_interpreter(profile, "to run MXNet")))
    return found[0], found[1]


def test_every_module_holds_the_same(trees: tuple[Tree, Tree]) -> None:
    plain, ours = (tree.told(_WALK, "mxnet") for tree in trees)
    assert plain.keys() == ours.keys()
    assert len(plain) > 200
    for module, names in plain.items():
        found = ours[module]
        differing = {name for name in {*names, *found} if names.get(name) != found.get(name)}
        known = {name for where, name in _OURS if where == module}
        if "_layerpack_made" in known:
            for listed in ("dir()", "order"):
                assert [name for name in found[listed] if name not in known] == names[listed]
            known |= {"dir()", "order"}
        assert differing == known, module
    made = [
        told
        for names in plain.values()
        for told in names.values()
        if isinstance(told, dict) and told.get("file") == "<string>"
    ]
    assert len(made) > 2000


def test_all_functions_are_taken(trees: tuple[Tree, Tree]) -> None:
    _, ours = trees
    assert ours.left() == [[], []]


def test_calls_of_every_kind_give_the_same(trees: tuple[Tree, Tree]) -> None:
    plain, ours = (tree.told("-c", _CALLS) for tree in trees)
    assert ours == plain
    assert plain["nd"][0] == [[0, 0, 2], [3, 0, 5]]
    # MXNet gives some a module of which there is none.
    assert plain["pickled"][:3] == ["True", "True", "True"]
    assert "PicklingError" in plain["pickled"][3]
    assert "num_filter" in plain["help"]
    assert all("Error" in one for one in plain["errors"])


def test_operators_of_a_loaded_library_come_along(tmp_path: Path, trees: tuple[Tree, Tree]) -> None:
    source = (trees[0].mxnet / "src/lib_api.cc").read_text()
    include = f"-I{trees[0].mxnet / 'include'}"
    library = compiled(
        tmp_path / "tripled.so",
        _OPERATOR + source,
        include,
        "-std=c++11",
        language="c++",
        machine="x86_64",
    )
    plain, ours = (tree.told("-c", _LOADED, library) for tree in trees)
    assert ours == plain
    assert plain["calls"] == [[3, -6], "tripled0", [1, 0]]
    assert not plain["again"]


def test_with_other_operators_mxnet_makes_all_itself(trees: tuple[Tree, Tree]) -> None:
    plain, ours = trees
    file = ours.mxnet / "symbol/register.wrappers"
    whole = file.read_bytes()
    try:
        ours.told("-c", _FEWER, file)
        assert ours.left() == [[], None]
        assert ours.told("-c", _CALLS) == plain.told("-c", _CALLS)
    finally:
        file.write_bytes(whole)
