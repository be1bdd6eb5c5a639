"""The code of a library as a graph: its functions and data, and what each of them refers to.

Functions are those of the unwinding table, and what lies between them; data is cut where anything
refers to it. References go through the PLT and the GOT to what the library itself defines. That
tells what can be reached from a function: everything that it, or data that it names, refers to.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

from layerpack.elf import format as elf
from layerpack.elf import functions
from layerpack.elf.dynamic import Image
from layerpack.elf.format import ElfError
from layerpack.elf.read import Section, SharedObject, map_file, read
from layerpack.elf.references import ADDRESS, CALL, goes_on, reader_for
from layerpack.elf.slots import Slots, read_slots
from layerpack.elf.tables import SHN_LORESERVE, Memory, read_tables

#: Part of the keys of what is made by a graph: another number means that it may be another.
CODE_VERSION: Final = 4
_LONGEST_TABLE: Final = 1 << 16
_LONGEST_TEXT: Final = 512
#: Functions between two progress reports.
_STEP: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """`name` is the dynamic symbol at its start, empty without one."""

    start: int
    end: int
    name: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Code:
    """The graph. Nodes are numbers: functions first, in the order of their addresses, then data.

    `functions` are all pieces of code but the PLT; `described` are the numbers of those that the
    unwinding table has.
    """

    def __init__(
        self, path: Path, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Read a library. Raises ElfError where its functions or tables cannot be told."""
        self._progress = progress
        self.view = map_file(path)
        self.source: SharedObject = read(self.view)
        self.image = Image(self.view, self.source.loads)
        tables = read_tables(Memory(self.view, self.source.loads), self.source)
        self.symbols = {
            row[4]: name.decode("utf-8", "surrogateescape")
            for row, name in zip(tables.symbols, tables.names, strict=True)
            if name and row[4] and 0 < row[3] < SHN_LORESERVE
        }
        self.addresses = {
            name.decode("utf-8", "surrogateescape"): row[4]
            for row, name in zip(tables.symbols, tables.names, strict=True)
            if name and row[4] and 0 < row[3] < SHN_LORESERVE
        }
        if not self.source.sections:
            raise ElfError("it has no section headers")
        dynamic = dict(tables.dynamic)
        self._dynamic = dynamic
        self._slots: Slots = read_slots(self.image, self.source, tables)
        self._read_functions()
        self._read_references()

    def _read_functions(self) -> None:
        stubs = sorted(self._slots.stubs)
        described = [
            one
            for one in functions.described_functions(self.image, self.source)
            if not any(start <= one[0] < end for start, end in stubs)
        ]
        points = {*self.symbols, *self._slots.values.values()}
        ordered = sorted(points)
        between = [
            part
            for gap in functions.gaps(self.image, self.source, described, stubs)
            for part in functions.split(
                gap, ordered[bisect_left(ordered, gap[0]) : bisect_right(ordered, gap[1])]
            )
        ]
        known = set(described)
        pieces = sorted([*described, *between])
        self.functions = tuple(
            Function(start=start, end=end, name=self.symbols.get(start, ""))
            for start, end in pieces
        )
        self._starts = array("Q", [one.start for one in self.functions])
        self.described = frozenset(number for number, one in enumerate(pieces) if one in known)

    def _read_references(self) -> None:
        references = reader_for(self.source.machine)
        #: (function, address, kind) of what is not code.
        outside: list[tuple[int, int, int]] = []
        for number, one in enumerate(self.functions):
            if number % _STEP == 0:
                self._progress(number, len(self.functions))
            data = bytes(self.image.bytes_at(one.start, one.size))
            for target, kind in set(references(data, one.start)):
                if one.start <= target < one.end:
                    continue
                meant = self._slots.resolved(target)
                # Reading a word of the GOT is how code takes an address.
                outside.append(
                    (number, meant, kind if meant == target or kind == CALL else ADDRESS)
                )
        tables = {
            (number, target)
            for number, target, kind in outside
            if kind == ADDRESS and target % 4 == 0 and self._is_constant(target)
        }
        # One may follow upon the other, and nothing else tells where it ends.
        starts = sorted({target for _, target, kind in outside if kind == ADDRESS})
        for number, target in tables:
            after = bisect_right(starts, target)
            end = starts[after] if after < len(starts) else target + 4 * _LONGEST_TABLE
            outside += [(number, to, CALL) for to in self._jump_table(target, end)]
        # A function that ends without a jump goes on in the next one; only those between the
        # described ones were cut by guess.
        fill: set[int] = set()
        for number, (one, other) in enumerate(pairwise(self.functions)):
            if number not in self.described:
                data = bytes(self.image.bytes_at(one.start, one.size))
                goes = goes_on(self.source.machine, data)
                if goes is None:
                    fill.add(number)
                if goes is not False and one.end == other.start:
                    outside.append((number, other.start, CALL))
        #: Pieces that only fill the place up to the next function.
        self.fill = frozenset(fill)
        self._connect(outside)

    def _connect(self, outside: list[tuple[int, int, int]]) -> None:
        slots = self._slots
        # What is only read or written may be one of an array's, which is used as a whole elsewhere.
        bounds = {
            target for _, target, kind in outside if kind == ADDRESS and slots.is_data(target)
        }
        bounds |= {value for value in slots.values.values() if slots.is_data(value)}
        if self.source.machine == "aarch64":
            # Its compilers reach several things from one address amid them (section anchors), so
            # that nothing but exported symbols tells where one begins.
            bounds = {start for start, _ in slots.data}
        bounds |= {start for start in self.symbols if slots.is_data(start)}
        self._bounds = array("Q", sorted(bounds))
        found: set[int] = set()
        constants: set[tuple[int, int]] = set()
        for number, target, kind in outside:
            node = self.node(target)
            if node is not None:
                found.add(number << 33 | node << 1 | (kind == CALL))
            elif kind != CALL and target:
                constants.add((number, target))
        for at, value in slots.values.items():
            start, end = self.node(at), self.node(value)
            if start is not None and end is not None and not slots.is_got(at):
                found.add(start << 33 | end << 1)
        self._edges = array("Q", sorted(found))
        self._constants = sorted(constants)

    def node(self, vaddr: int) -> int | None:
        """The function or the piece of data that holds an address; None where none does."""
        number = bisect_right(self._starts, vaddr) - 1
        if number >= 0 and vaddr < self.functions[number].end:
            return number
        if self._slots.is_data(vaddr):
            number = bisect_right(self._bounds, vaddr) - 1
            if number >= 0:
                return len(self.functions) + number
        return None

    def edges(self, node: int) -> Iterator[tuple[int, bool]]:
        """What a node refers to, and whether by a call or a jump."""
        at = bisect_left(self._edges, node << 33)
        while at < len(self._edges) and self._edges[at] >> 33 == node:
            yield self._edges[at] >> 1 & 0xFFFFFFFF, bool(self._edges[at] & 1)
            at += 1

    def reach(
        self,
        nodes: Iterable[int],
        *,
        cut: Collection[tuple[int, int]] = frozenset(),
        seen: bytearray | None = None,
    ) -> bytearray:
        """Mark all that `nodes` lead to: a byte a node, 1 where it is reached.

        References (from, to) of `cut` are not followed, unless they are calls. `seen` is marked
        further, and what it has already is not followed anew.
        """
        seen = bytearray(self.size) if seen is None else seen
        self.reached_from(nodes, cut=cut, seen=seen)
        return seen

    def reached_from(
        self, nodes: Iterable[int], *, cut: Collection[tuple[int, int]], seen: bytearray
    ) -> list[int]:
        """What `reach` marks anew in `seen`."""
        found = []
        for node in nodes:
            if not seen[node]:
                seen[node] = 1
                found.append(node)
        targets, first = self._targets
        # It grows while it is walked.
        for node in found:
            for at in range(first[node], first[node + 1]):
                to = targets[at] >> 1
                if not seen[to] and (targets[at] & 1 or (node, to) not in cut):
                    seen[to] = 1
                    found.append(to)
        return found

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.functions) + len(self._bounds)

    @cached_property
    def _targets(self) -> tuple[array[int], array[int]]:
        """Targets (node << 1 | call), and where each node's begin."""
        first = array("Q", [bisect_left(self._edges, n << 33) for n in range(self.size + 1)])
        return array("Q", [edge & 0x1FFFFFFFF for edge in self._edges]), first

    @cached_property
    def initialisers(self) -> tuple[int, ...]:
        """The functions that the loader calls, at start and at the end."""
        dynamic = self._dynamic
        found = [dynamic[tag] for tag in (elf.DT_INIT, elf.DT_FINI) if dynamic.get(tag)]
        for tag, size in (
            (elf.DT_INIT_ARRAY, elf.DT_INIT_ARRAYSZ),
            (elf.DT_FINI_ARRAY, elf.DT_FINI_ARRAYSZ),
        ):
            start = dynamic.get(tag, 0)
            end = start + dynamic.get(size, 0)
            found += [self._slots.values.get(at, 0) for at in range(start, end, 8)]
        return tuple(found)

    def text(self, vaddr: int) -> bytes | None:
        """The NUL-terminated text in constant data at an address; None where there is none."""
        if not self._is_constant(vaddr):
            return None
        load = next(one for one in self.source.loads if one.holds(vaddr, 1))
        size = min(_LONGEST_TEXT, load.vaddr + load.filesz - vaddr)
        found, end, _ = bytes(self.image.bytes_at(vaddr, size)).partition(b"\0")
        return found if end else None

    def constants(self) -> Iterator[tuple[int, int]]:
        """(function, address) for all constant data that functions refer to."""
        yield from self._constants

    def stub_of(self, name: str) -> int:
        """The address of the PLT's entry for another library's symbol; 0 where there is none."""
        return self._slots.stub_of(name)

    def section(self, name: str) -> Section | None:
        """A section by its name."""
        return next((one for one in self.source.sections if one.name == name), None)

    def _is_constant(self, vaddr: int) -> bool:
        return not self._slots.is_data(vaddr) and any(
            one.holds(vaddr, 1) and self._starts_no_code(vaddr) for one in self.source.loads
        )

    def _starts_no_code(self, vaddr: int) -> bool:
        number = bisect_right(self._starts, vaddr) - 1
        return number < 0 or vaddr >= self.functions[number].end

    def _jump_table(self, vaddr: int, end: int) -> list[int]:
        """The code that a table of distances from its own start leads to, which ends at `end` at
        last; nothing for other data.

        Other data may look like it, which leads to too much being reached, not too little; but no
        table has a single entry.
        """
        found: list[int] = []
        for at in range(vaddr, min(end, vaddr + 4 * _LONGEST_TABLE), 4):
            try:
                distance = int.from_bytes(self.image.bytes_at(at, 4), "little", signed=True)
            except ElfError:
                break
            target = vaddr + distance
            number = bisect_right(self._starts, target) - 1
            if number < 0 or target >= self.functions[number].end:
                break
            found.append(target)
        return found if len(found) > 1 else []
