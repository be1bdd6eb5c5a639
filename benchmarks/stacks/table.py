"""The stacks: which wheels, and which checks with which bounds of time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from layerpack.patches import matches
from layerpack.recipe import Recipe

_RECIPES: Final = Path(__file__).parents[2] / "recipes"
_PYTEST: Final = ("pytest", "hypothesis")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Checks that run in one process, for `seconds` at most.

    `tests` are arguments of pytest; or `module` is run, with the results' file as its argument.
    `held` is False where outcomes are exact and variables cannot hold what makes them to a level.
    """

    name: str
    seconds: float
    tests: tuple[str, ...] = ()
    module: str | None = None
    held: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """Requirements, whose wheels make the tree; what has to be mended in it; and parts."""

    requirements: tuple[str, ...]
    parts: tuple[Part, ...]
    prepare: Callable[[Path], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def _pytest(seconds: int, *packages: str, more: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """A part for each package's own tests."""
    return tuple(
        Part(name=package, seconds=seconds, tests=("--pyargs", package, *more))
        for package in packages
    )


def _module(name: str, seconds: int, *, held: bool = True) -> tuple[Part, ...]:
    return (Part(name=name, seconds=seconds, module=f"benchmarks.stacks.{name}", held=held),)


def mend_mxnet(tree: Path) -> None:
    """The patches of the recipe, without which MXNet 1.9.1 does not run on this Python."""
    for patch in Recipe.load(_RECIPES / "bert.yaml").patches:
        if patch.package != "mxnet":
            continue
        expression = re.compile(patch.replace.pattern, re.MULTILINE)
        for path in sorted((tree / "mxnet").rglob("*.py")):
            if any(matches(path.relative_to(tree).as_posix(), p) for p in patch.files):
                text = path.read_text(encoding="utf-8")
                path.write_text(expression.sub(patch.replace.with_, text), encoding="utf-8")


STACKS: Final[Mapping[str, Stack]] = {
    "numpy": Stack(
        requirements=("numpy==2.4.6", "meson", "ninja", *_PYTEST),
        # f2py's tests compile, and so test a compiler; typing's run mypy.
        parts=_pytest(600, "numpy._core", more=("-m", "not slow"))
        + _pytest(300, *(f"numpy.{one}" for one in ("linalg", "fft", "random", "polynomial")))
        + _pytest(300, "numpy.lib", "numpy.ma", more=("-m", "not slow"))
        + _module("numpy_bits", 60),
    ),
    "scipy": Stack(
        requirements=("scipy==1.17.1", "numpy==2.4.6", *_PYTEST),
        parts=_pytest(
            420,
            *(f"scipy.{one}" for one in ("linalg", "special", "sparse", "fft", "optimize")),
            more=("-m", "not slow and not xslow"),
        ),
    ),
    "sklearn": Stack(
        requirements=("scikit-learn==1.9.1", "scipy==1.17.1", "numpy==2.4.6", *_PYTEST),
        parts=_pytest(
            300,
            *(f"sklearn.{one}" for one in ("tree", "svm", "linear_model", "neighbors", "cluster")),
            *(f"sklearn.{one}" for one in ("decomposition", "metrics", "_loss", "utils")),
        )
        + _module("sklearn_bits", 120),
    ),
    "spacy": Stack(
        requirements=(
            *("spacy==3.8.18", "thinc==8.3.14", "srsly==2.5.6", "blis==1.3.4"),
            *("mock", "psutil", *_PYTEST),
        ),
        parts=_pytest(600, "spacy", "thinc", "srsly")
        + _module("blis_products", 120, held=False)
        + _module("blis_bounds", 120),
    ),
    "pydantic": Stack(requirements=("pydantic==2.14.3",), parts=_module("pydantic_checks", 300)),
    "mxnet": Stack(
        requirements=("mxnet==1.9.1", "numpy==1.26.4", "packaging"),
        parts=_module("mxnet_operators", 300) + _module("mxnet_training", 300),
        prepare=mend_mxnet,
    ),
    "onnxruntime": Stack(
        requirements=("onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6"),
        parts=_module("onnx_operators", 600),
    ),
    "lightgbm": Stack(
        requirements=("lightgbm==4.7.0", "scipy==1.17.1", "numpy==2.4.6"),
        parts=_module("lightgbm_bits", 300),
    ),
    "pyarrow": Stack(
        requirements=("pyarrow==26.0.1", "numpy==2.4.6", *_PYTEST),
        parts=_pytest(600, "pyarrow", more=("-m", "not large_memory and not slow")),
    ),
}
