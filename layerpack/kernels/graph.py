"""What is there for some entries of a library alone: reached through them and from nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from layerpack.elf.code import Code


def references_to(code: Code, nodes: Collection[int]) -> frozenset[tuple[int, int]]:
    """All references (from, to) to any of `nodes` from another one than these."""
    return frozenset(
        (start, end)
        for start in range(code.size)
        if start not in nodes
        for end, _ in code.edges(start)
        if end in nodes
    )


def only_behind(
    code: Code,
    entries: Collection[int],
    unused: Collection[int] = frozenset(),
    *,
    called: bool = False,
) -> frozenset[int]:
    """The functions that nothing reaches once nothing but they themselves refers to `entries`.

    Everything counts as used by others that is exported, but for `unused`; and all that the
    entries and the unused ones do not lead to. Who calls or jumps to an entry uses it, unless
    `called` is set.
    """
    behind = code.reach([*entries, *unused])
    exported = {node for node in map(code.node, code.symbols) if node is not None}
    exported -= {*entries, *unused}
    roots = [
        node
        for node in range(code.size)
        if node in exported or not (behind[node] or node in code.fill)
    ]
    if called:
        # Seen before it begins, they are not followed.
        barred = bytearray(code.size)
        for node in entries:
            barred[node] = 1
        used = code.reach((node for node in roots if not barred[node]), seen=barred)
        for node in entries:
            used[node] = 0
    else:
        used = code.reach(roots, cut=references_to(code, entries))
    return frozenset(n for n in range(len(code.functions)) if behind[n] and not used[n])


def nodes_between(code: Code, start: int, end: int) -> Iterable[int]:
    """The pieces of data that begin from `start` on, before `end`, and the one that holds it."""
    first, last = code.node(start), code.node(end - 1)
    if first is None or last is None:
        return ()
    return range(first, last + 1)
