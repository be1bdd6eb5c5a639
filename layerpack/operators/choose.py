"""Which operators stay: those that are wished, and all that they may call for.

An operator's code names others that it runs itself: its gradient, above all. What MXNet's engine
uses by itself stays always (data/mxnet.json).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Final

from layerpack.data import load
from layerpack.elf.code import Code
from layerpack.operators.registry import MAKER, Registered, Registry

#: What registers operators, and what gives their registries.
_REGISTRIES: Final = (
    "_ZN4dmlc8RegistryIN4nnvm2OpEE3GetEv",
    "_ZN4dmlc8RegistryIN4nnvm2OpEE19__REGISTER_OR_GET__ERKSs",
    "_ZN4dmlc8RegistryIN5mxnet19OperatorPropertyRegEE3GetEv",
)
#: mxnet::op::SomethingProp::CreateOperator and CreateOperatorEx.
_MAKER: Final = re.compile(r"_ZNK5mxnet2op\d+\w+?Prop(14CreateOperator|16CreateOperatorEx)E")


#: What MXNet uses by itself, whatever a program calls.
USES: Final = load("mxnet.json")


class UnsureError(Exception):
    """The library's code is not as this expects it; the text says how, as a clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """`kept` operators, each with why: empty for one that was wished. `reached` marks the nodes of
    the code that stay. Without `training` gradients can be planned, and not computed; `planned`
    marks what stays for that alone."""

    kept: Mapping[str, str]
    reached: bytearray
    training: bool
    planned: bytearray

    def follows(self, one: Registered) -> bool:
        """Whether all that a function of an operator that is kept calls for stays as well."""
        return self.training or not one.is_gradient


class Operators:
    """The operators of a library, in its code; `spelled` are names that others look up in it."""

    def __init__(self, code: Code, registry: Registry, spelled: frozenset[str]) -> None:
        self.code = code
        self.registry = registry
        self._check()
        #: Operators with their functions, what makes those of the older kind among them.
        self.functions = self._with_makers()
        self._roots = list(self._always(spelled))

    def _check(self) -> None:
        """Every function of an operator must be one of the library's."""
        starts = {one.start for one in self.code.functions}
        for one in chain.from_iterable(self.registry.operators.values()):
            if one.called not in starts or one.invoker not in starts:
                raise UnsureError(f"a function of its operators, at {one.called:#x}, is none")
        if any(name not in self.code.addresses for name in _REGISTRIES):
            raise UnsureError("it has no registry of operators")

    @cached_property
    def owned(self) -> frozenset[int]:
        """The nodes of functions that are registered for operators."""
        functions = list(chain.from_iterable(self.functions.values()))
        addresses = {one.called for one in functions} | {one.invoker for one in functions}
        return frozenset(self._nodes(addresses))

    def _with_makers(self) -> Mapping[str, tuple[Registered, ...]]:
        code = self.code
        makers = {
            node: code.functions[node].start
            for name, address in code.addresses.items()
            if _MAKER.match(name)
            for node in self._nodes([address])
        }
        # In tables of virtual functions, which whatever describes an operator refers to.
        tables = {
            (table, maker)
            for table in range(len(code.functions), code.size)
            for maker, _ in code.edges(table)
            if maker in makers
        }
        self._tables = frozenset(tables)
        by_table: dict[int, list[int]] = defaultdict(list)
        for table, maker in tables:
            by_table[table].append(makers[maker])
        functions = dict(self.registry.operators)
        for name, factory in self.registry.factories.items():
            seen = code.reach(self._nodes([factory]), cut=self._tables)
            made = sorted(
                {one for table, found in by_table.items() if seen[table] for one in found}
            )
            own = tuple(
                Registered(attribute=MAKER, called=one, invoker=one, words=()) for one in made
            )
            for user in (name, f"_backward_{name}"):
                if user in functions:
                    functions[user] += own
        return functions

    @cached_property
    def cut(self) -> frozenset[tuple[int, int]]:
        """References by which operators are registered: they run nothing."""
        return (
            frozenset(
                (registrar, to)
                for registrar in self._registrars
                for to, _ in self.code.edges(registrar)
                if to in self.owned
            )
            | self._tables
        )

    @cached_property
    def _registrars(self) -> frozenset[int]:
        """What runs when the library is loaded, and registers operators."""
        first = set(self._nodes(self.code.initialisers))
        gets = set(self._nodes(self.code.addresses[name] for name in _REGISTRIES))
        called = {to for node in first for to, is_call in self.code.edges(node) if is_call}
        return frozenset(
            first | {one for one in called if any(to in gets for to, _ in self.code.edges(one))}
        )

    def _always(self, spelled: frozenset[str]) -> Iterator[int]:
        """What is run, or may be, whatever operators there are."""
        code = self.code
        yield from self._nodes(code.initialisers)
        yield from self._nodes(self.registry.factories.values())
        for name, address in code.addresses.items():
            # The C API, and what other libraries and Python look up.
            if not name.startswith("_Z") or name in spelled:
                yield from self._nodes([address])
        # What was written by hand may be run in ways that are not seen.
        yield from (n for n in range(len(code.functions)) if n not in code.described)

    @cached_property
    def _names(self) -> Mapping[int, frozenset[str]]:
        """The operators that each function names."""
        found: dict[int, set[str]] = defaultdict(set)
        for function, address in self.code.constants():
            name = self._operator_at(address)
            if name is not None and function not in self._registrars:
                found[function].add(name)
        return {function: frozenset(names) for function, names in found.items()}

    def _operator_at(self, address: int) -> str | None:
        text = self.code.text(address)
        return None if text is None else self.registry.aliases.get(text.decode("utf-8", "replace"))

    def _nodes(self, addresses: Iterable[int]) -> Iterator[int]:
        return (n for n in (self.code.node(one) for one in addresses) if n is not None)

    @cached_property
    def base(self) -> bytearray:
        """The nodes that are reached without any operator."""
        return self.code.reach(self._roots, cut=self.cut)

    def nodes_of(self, functions: Iterable[Registered]) -> Iterator[int]:
        """The nodes that functions are, or name in their objects."""
        for one in functions:
            yield from self._nodes((one.called, one.invoker, *one.words))

    def choose(self, wished: Iterable[str], *, training: bool) -> Choice:
        """Keep the `wished` operators (by their own names), and what they call for.

        Without `training` what makes their gradients stays, since MXNet plans those for every
        hybridised block, but the operators that gradients are made of go.
        """
        choice = Choice(
            kept={},
            reached=bytearray(self.base),
            training=training,
            planned=bytearray(self.code.size),
        )
        waiting = [(name, "") for name in sorted(set(wished))]
        waiting += [(name, "MXNet itself uses it") for name in self.framework]
        choice = self._with(choice, waiting)
        # Whose code is all there, since others share it.
        shared = {
            name: "its code is shared with what stays"
            for name, functions in sorted(self.functions.items())
            if name not in choice.kept
            and all(choice.reached[node] for node in self._nodes(one.called for one in functions))
        }
        return replace(choice, kept={**choice.kept, **shared})

    def with_one_more(self, choice: Choice, name: str) -> Choice:
        """The choice that keeps another operator as well, and what it calls for."""
        return self._with(choice, [(name, "")])

    def _with(self, choice: Choice, waiting: list[tuple[str, str]]) -> Choice:
        kept, reached = dict(choice.kept), bytearray(choice.reached)
        gradients: list[Registered] = []
        for name, reason in waiting:
            if name in kept:
                continue
            kept[name] = reason
            followed = [x for x in self.functions[name] if choice.follows(x)]
            gradients += [x for x in self.functions[name] if x not in followed]
            nodes = self.code.reached_from(self.nodes_of(followed), cut=self.cut, seen=reached)
            named = {self._operator_at(word) for one in followed for word in one.words}
            for node in nodes:
                named |= self._names.get(node, frozenset())
            # It grows while it is walked.
            waiting += [(one, f"{name} calls for it") for one in sorted(filter(None, named))]
            waiting += [(one, f"it takes the place of {name}") for one in self.instead(name)]
        # Last: what they reach, and others do as well, has been seen with the names in it by now.
        planned = bytearray(choice.planned)
        for node in self._plan(gradients, reached):
            planned[node] = 1
        return replace(choice, kept=kept, reached=reached, planned=planned)

    def _plan(self, gradients: list[Registered], reached: bytearray) -> list[int]:
        """Keep what makes the nodes of gradients, and describes them, but not their work; the nodes
        that this keeps."""
        nodes = self.code.reached_from(
            self.nodes_of(gradients), cut=self.cut, seen=bytearray(self.base)
        )
        named = {self._operator_at(word) for one in gradients for word in one.words}
        for node in nodes:
            named |= self._names.get(node, frozenset())
        described = [
            one
            for name in sorted(filter(None, named))
            for one in self.functions[name]
            if not one.does_work
        ]
        return self.code.reached_from(
            self.nodes_of([*gradients, *described]), cut=self.cut, seen=reached
        )

    @property
    def framework(self) -> list[str]:
        """The operators that MXNet uses by itself."""
        return sorted(set(self._known(USES["framework"])))

    def instead(self, name: str) -> list[str]:
        """The operators that MXNet by itself puts in the place of one."""
        return list(self._known(USES["instead"].get(name, ())))

    def _known(self, names: Iterable[str]) -> Iterator[str]:
        """Those that this version of MXNet has, by their own names."""
        return (self.registry.aliases[name] for name in names if name in self.registry.aliases)
