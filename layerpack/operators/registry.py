"""What MXNet's library registers: its operators, and the functions of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerpack.process import run
from layerpack.units import read_checked, write_checked

#: Part of the cache key: raise it where the registry's content changes.
REGISTRY_VERSION: Final = 2
_WORKER: Final = Path(__file__).with_name("registry_worker.py")
#: Attributes whose functions are given an operator's node, and not its attributes (nnvm's
#: op_attr_types.h).
_NODE: Final = frozenset({"FGradient"})
#: Those that are given a state instead, which tells no name (mxnet's op_attr_types.h).
_STATE: Final = frozenset({"FStatefulCompute<cpu>", "FStatefulComputeEx<cpu>"})
#: Those that return nothing, or a number. The place for what others return is their callers', who
#: tell it as the first argument (System V ABI for x86-64, 3.2.3).
_NUMBERS: Final = frozenset(
    {
        *("own", "FCompute<cpu>", "FComputeEx<cpu>", "FInferShape", "FInferType"),
        *("FInferStorageType", "FNumVisibleOutputs", "FExecType", "FNDArrayFunction"),
    }
)
#: Those that do an operator's work, or make what does it.
_WORK: Final = frozenset(
    {"FCompute<cpu>", "FComputeEx<cpu>", "FCreateOpState", "FNDArrayFunction", *_STATE}
)
_GRADIENT: Final = "FGradient"
#: Arguments that the pager reads where a removed function is called (`elf/pager/fault.c`).
_ARGUMENTS: Final = 2
#: What makes an operator of the older kind, once its shapes are known (OperatorProperty's
#: CreateOperatorEx): no attribute, but the one function that leads to its code.
MAKER: Final = "CreateOperator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A function of an operator's `attribute`, at address `called`.

    `invoker` is what std::function calls: the same, or what passes a call on to a plain function.
    `words` are addresses in the library that its object may hold.
    """

    attribute: str
    called: int
    invoker: int
    words: tuple[int, ...]

    @property
    def argument(self) -> int:
        """Which argument leads to the operator's name; 0 where none does."""
        if self.attribute in _STATE or self.attribute == MAKER:
            return 0
        # It gets its object before its own ones, where it is what std::function calls.
        place = 1 + (self.called == self.invoker) + (self.attribute not in _NUMBERS)
        return place if place <= _ARGUMENTS else 0

    @property
    def steps(self) -> int:
        """How often that argument is followed: NodeAttrs, the operator, its name; a node first."""
        return 3 if self.attribute in _NODE else 2

    @property
    def is_gradient(self) -> bool:
        """Whether it is only called to train."""
        return self.attribute == _GRADIENT

    @property
    def does_work(self) -> bool:
        """Whether its being called means that the operator runs."""
        return self.attribute in _WORK or self.attribute == MAKER


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """Operators by their own names; `aliases` leads from every name to that; `backward` are those
    that only gradients use; `factories` the addresses of what describes operators of the older
    kind, which runs when operators are listed."""

    operators: Mapping[str, tuple[Registered, ...]]
    aliases: Mapping[str, str]
    backward: frozenset[str]
    factories: Mapping[str, int]


class RegistryError(Exception):
    """The registry cannot be read; the text says why, as a clause."""


def read_registry(library: Path, folders: list[Path], interpreter: Path, kept: Path) -> Registry:
    """Ask the library, which is loaded by `interpreter` with `folders` to find others in.

    `kept` is the file that the answer is kept in. Raises RegistryError.
    """
    if (registry := kept_registry(kept)) is not None:
        return registry
    result = run(
        [interpreter, "-I", _WORKER, library],
        # The same answer for all: MXNet heeds dozens of variables, and the C library fills what it
        # gives and gets back, so that nothing that lay there before is taken for a word of it.
        bare=True,
        environment={
            "LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders),
            "MALLOC_PERTURB_": "165",
        },
    )
    if result.returncode:
        why = result.tail(1) or f"exit code {result.returncode}"
        raise RegistryError(f"its operators cannot be told ({why})")
    value = json.loads(result.output)
    registry = _registry(value)
    write_checked(kept, value)
    return registry


def kept_registry(path: Path) -> Registry | None:
    """What was kept; None where there is none, or it is damaged."""
    value = read_checked(path)
    return None if value is None else _registry(value)


def _registry(value: Any) -> Registry:
    operators: dict[str, tuple[Registered, ...]] = {}
    for name, attributes in value["operators"].items():
        rows = [(key, row) for key, found in sorted(attributes.items()) for row in found]
        operators[name] = tuple(
            Registered(attribute=key, called=row[0], invoker=row[1], words=tuple(row[2:]))
            for key, row in rows
        )
    return Registry(
        operators=operators,
        aliases=value["aliases"],
        # MXNet does not mark all of them.
        backward=frozenset(value["backward"])
        | {name for name in operators if name.startswith("_backward_")},
        factories={name: row[0] for name, row in value["factories"].items() if row},
    )
