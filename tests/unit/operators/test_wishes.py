"""Which operators a recipe asks for: by name, by recordings, by models' symbols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerpack.errors import RecipeError
from layerpack.operators.registry import Registry
from layerpack.operators.wishes import symbol_operators, wished

_NAMES = ("FullyConnected", "Convolution", "softmax", "_foreach", "tanh", "Embedding")
REGISTRY = Registry(
    operators=dict.fromkeys(_NAMES, ()),
    aliases={**{name: name for name in _NAMES}, "_npx_softmax": "softmax"},
    backward=frozenset(),
    factories={},
)


def _graph(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": [{"op": "null", "name": "x"}, *nodes], "arg_nodes": [0], "heads": [[1, 0, 0]]}


def _file(folder: Path, value: object, name: str = "net-symbol.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_symbol_names_its_operators(tmp_path: Path) -> None:
    nodes = ({"op": "Convolution", "name": "a"}, {"op": "_npx_softmax", "name": "b"})
    path = _file(tmp_path, _graph(*nodes))
    assert symbol_operators(path) == {"Convolution", "_npx_softmax"}


def test_so_do_symbols_within_its_nodes(tmp_path: Path) -> None:
    inner = _graph({"op": "tanh", "subgraphs": [_graph({"op": "Embedding"})]})
    path = _file(tmp_path, _graph({"op": "_foreach", "subgraphs": [inner]}))
    assert symbol_operators(path) == {"_foreach", "tanh", "Embedding"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"nodes": [{"op": "softmax"}]}, id="another tool's graph"),
        pytest.param({"nodes": {"op": "softmax"}, "arg_nodes": []}, id="nodes are no list"),
        pytest.param({"nodes": ["softmax", {"op": 3}, {}], "arg_nodes": []}, id="odd nodes"),
        pytest.param([{"op": "softmax"}], id="a list"),
        pytest.param("{", id="no JSON"),
        pytest.param("\ufeff{}", id="a byte order mark"),
        pytest.param('"\\ud800"', id="a lone surrogate"),
    ],
)
def test_other_files_name_none(tmp_path: Path, value: object) -> None:
    assert symbol_operators(_file(tmp_path, value)) == frozenset()


def test_bytes_that_are_no_text_name_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00{")
    assert symbol_operators(path) == frozenset()


def test_who_asks_is_told_by_their_own_names(tmp_path: Path) -> None:
    model = _file(tmp_path, _graph({"op": "tanh"}, {"op": "_npx_softmax"}, {"op": "another's"}))
    found = wished(
        REGISTRY,
        recipe=Path("few.yaml"),
        listed=["Convolution"],
        recorded=["Embedding", "Convolution", "gone by now"],
        models={"assets/net/net-symbol.json": model},
    )
    assert found == {
        "Convolution": "the recipe names it",
        "Embedding": "a workload runs it",
        "softmax": "assets/net/net-symbol.json names it",
        "tanh": "assets/net/net-symbol.json names it",
    }


def test_a_listed_name_that_there_is_not() -> None:
    with pytest.raises(
        RecipeError, match=r"few\.yaml: mxnet\.operators: MXNet has no operator 'Convolutoin'"
    ) as caught:
        wished(REGISTRY, recipe=Path("few.yaml"), listed=["Convolutoin"], recorded=(), models={})
    assert caught.value.hint == "Did you mean 'Convolution'?"


def test_one_like_no_other() -> None:
    with pytest.raises(RecipeError) as caught:
        wished(REGISTRY, recipe=Path("few.yaml"), listed=["zzzzz"], recorded=(), models={})
    assert "mxnet.list_all_op_names()" in caught.value.hint
