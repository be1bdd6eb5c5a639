"""Libraries whose code is read as a graph, compiled on the spot and not stripped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerpack.elf.code import Code
from tests.support.compilers import Language, compile_source, compiler_for
from tests.support.symbols import Symbol, symbols


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A library's code, with the names that only its symbol table has."""

    path: Path
    code: Code
    symbols: dict[str, Symbol]

    def node(self, name: str) -> int:
        """The node of a function or of a piece of data."""
        node = self.code.node(self.symbols[name].start)
        assert node is not None, name
        return node

    def reached(
        self, *roots: str, cut: Iterable[tuple[str, str]] = (), among: Iterable[str] = ()
    ) -> set[str]:
        """The names of what is reached from some functions, themselves among them."""
        edges = {(self.node(start), self.node(end)) for start, end in cut}
        seen = self.code.reach([self.node(name) for name in roots], cut=edges)
        found = set()
        for name in among or self.symbols:
            node = self.code.node(self.symbols[name].start)
            if node is not None and seen[node]:
                found.add(name)
        return found


def library(
    path: Path, source: str, *options: str, machine: str = "x86_64", language: Language = "c"
) -> Path:
    """Compile `source` to the library `path`, for one of the `MACHINES` of the compilers."""
    command = [*compiler_for(machine, language), "-shared", "-fPIC"]
    return compile_source(path, command, source, *options, language=language)


def graph(
    path: Path, source: str, *options: str, machine: str = "x86_64", language: Language = "c"
) -> Graph:
    """The graph of a library that is compiled from `source`."""
    made = library(path, source, *options, machine=machine, language=language)
    return Graph(path=made, code=Code(made), symbols=symbols(made))
