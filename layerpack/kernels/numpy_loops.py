"""numpy's loops for features of processors: each is compiled several times, and named after them.

`LONG_add_AVX2` and `QSort_AVX512_SKX` are used where `npy_cpu_have` tells that the processor has
the feature. Where loops go, it is made to tell that it has not, as if the processor lacked it.
(Where numpy tells a user what the processor has, it goes on to tell the truth.)

Names and numbers of features: a table in the library itself, which is that of numpy's
`npy_cpu_features.c` (1.26 and 2.4). The loops' names are in its symbol table alone, so that it must
be read as its wheel has it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import NO_DROPS, Patch
from layerpack.elf.format import ElfError
from layerpack.elf.references import reader_for
from layerpack.kernels.features import level_needed
from layerpack.kernels.graph import only_behind, references_to
from layerpack.kernels.local_names import local_names
from layerpack.kernels.redirect import Words
from layerpack.kernels.variants import LeftAlone, Variants, drops, levels_of, variant
from layerpack.processor_levels import Level

#: In the bytes of every library of the family: the variable that takes features away.
MARK: Final = b"NPY_DISABLE_CPU_FEATURES"
#: Features in names of loops, one or more of them; of C++'s templates, arguments follow.
_LOOP: Final = re.compile(
    r"_((?:(?:__)?(?:AVX512(?:F|_KNL|_KNM|_SKX|_CLX|_CNL|_ICL|_SPR)|X86_V[34]"
    r"|AVX2?|F16C|FMA[34]|XOP))+)"
    r"(?:I.*)?(?:\.[.0-9a-z]*)?$"
)
#: In names of loops for SVE, or of a C++ namespace of such.
_SVE: Final = "_SVE"
_LEVELS: Final[tuple[tuple[re.Pattern[str], Level], ...]] = (
    (re.compile(r"AVX512|X86_V4"), "avx512"),
    (re.compile(r"AVX|F16C|FMA|XOP|X86_V3"), "avx2"),
)
_FEATURE: Final = re.compile(r"[A-Z][A-Z0-9_]+")
_MOST_FEATURES: Final = 1000
#: Those that may look at what the processor has, besides the one that tells.
_ASKS: Final = "npy_cpu_have"
_OTHERS: Final = frozenset({"npy_cpu_init", "npy__cpu_check_env", "npy_cpu_features_dict"})
#: lea -1(%rdi), %edx; xor %eax, %eax; cmp $last, %edx; ja end; movslq %edi, %rdi;
#: lea table(%rip), %rax; movzbl (%rax,%rdi), %eax; end: ret
_HAVE: Final = re.compile(
    rb"\x8d\x57\xff\x31\xc0\x81\xfa(....)\x77\x0e\x48\x63\xff\x48\x8d\x05(....)\x0f\xb6\x04\x38\xc3",
    re.DOTALL,
)
_HAVE_SIZE: Final = 28


def find(code: Code, kept: Sequence[Level]) -> Variants | LeftAlone:
    """The loops that a library has for features of processors, and the drops of those for more than
    the highest of `kept` levels: lesser ones are used where there are no others.

    Raises ElfError.
    """
    names = local_names(code)
    if not any(name == _ASKS for name, _ in names):
        return LeftAlone(reason="its symbols are gone, which name its loops")
    if code.source.machine != "x86_64":
        if any(_SVE in name for name, _ in names):
            return LeftAlone(reason="what chooses its loops for SVE is not known")
        # What else has loops of its own is there in all of Lambda's processors.
        return Variants(found=(), drops=NO_DROPS)
    order = levels_of(code)
    beyond = order[order.index(max(kept, key=order.index)) + 1 :]
    loops = _loops(code, names)
    found = []
    for name, entries in sorted(loops.items()):
        level = _level(name)
        own = only_behind(code, entries, _templates(code, entries, [level]), called=True)
        found.append(variant(code, own, name=name, level=level, kept=level not in beyond))
    gone = {node for one in found if not one.kept for node in loops[one.name]}
    if not gone:
        return Variants(found=tuple(found), drops=NO_DROPS)
    patch = _pin(code, names, beyond, {one.name: one.kept for one in found})
    if isinstance(patch, LeftAlone):
        return patch
    unused = only_behind(code, gone, _templates(code, gone, beyond), called=True)
    made = drops(code, unused, patches=[patch], variants=found, kept=kept, needs=order[0])
    return Variants(found=tuple(found), drops=made)


def _level(feature: str) -> Level:
    """The level of a feature, or of the highest of several ("FMA3__AVX2")."""
    return next((level for pattern, level in _LEVELS if pattern.search(feature)), "baseline")


def _loops(code: Code, names: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
    """The loops by their features: those that only functions choose which ask for some."""
    found: dict[str, set[int]] = {}
    for name, at in names:
        match = _LOOP.search(name)
        node = code.node(at) if match else None
        if match and node is not None and node < len(code.functions):
            found.setdefault(match[1], set()).add(node)
    every = frozenset(node for nodes in found.values() for node in nodes)
    asks = {code.node(at) for name, at in names if name == _ASKS}
    # What names a loop is one itself, or there for loops alone, or asks before.
    behind = only_behind(code, every, called=True)
    doubtful = {
        end
        for start, end in references_to(code, every)
        if start not in behind
        and start not in code.fill
        and not any(to in asks for to, _ in code.edges(start))
    }
    return {name: frozenset(nodes - doubtful) for name, nodes in found.items()}


def _templates(code: Code, entries: Collection[int], levels: Collection[Level]) -> frozenset[int]:
    """Functions behind some loops that are exported as all of C++'s templates are, and that only a
    processor of one of `levels` can run."""
    behind = code.reach(entries)
    exported = (code.node(at) for at, name in code.symbols.items() if name.startswith("_Z"))
    return frozenset(
        node
        for node in exported
        if node is not None
        and node < len(code.functions)
        and behind[node]
        and level_needed(code, [node]) in levels
    )


def _pin(
    code: Code,
    names: Sequence[tuple[str, int]],
    beyond: Sequence[Level],
    loops: Mapping[str, bool],
) -> Patch | LeftAlone:
    """What makes the library take features as absent; `loops` tells of each whether it stays."""
    numbers = _numbers(code)
    stays, needed = (
        {feature for name, kept in loops.items() if kept == stay for feature in name.split("__")}
        for stay in (True, False)
    )
    if not needed <= numbers.keys():
        return LeftAlone(reason="its table of features is not as expected")
    absent = [number for name, number in numbers.items() if _level(name) in beyond]
    at = next(at for name, at in names if name == _ASKS)
    match = _HAVE.match(bytes(code.image.bytes_at(at, _HAVE_SIZE)))
    first, span = min(absent), max(absent) - min(absent)
    if any(first <= numbers.get(feature, 0) <= first + span for feature in stays):
        return LeftAlone(reason="features that stay are numbered among those that go")
    if match is None or first > 127 or span > 127:
        return LeftAlone(reason="it asks for features in an unknown way")
    table = at + match.end(2) + int.from_bytes(match[2], "little", signed=True)
    end = table + int.from_bytes(match[1], "little") + 2
    by_name = {node: name for name, one in names if (node := code.node(one)) is not None}
    if not {by_name.get(user) for user in _users(code, table, end)} <= {_ASKS, *_OTHERS}:
        return LeftAlone(reason="something else looks at what the processor has")
    # lea -first(%rdi), %edx; xor %eax, %eax; cmp $span, %edx; jbe end; movslq %edi, %rdi;
    # lea table(%rip), %rax; movzbl (%rax,%rdi), %eax; end: ret
    start = b"\x8d\x57" + struct.pack("<b", -first) + b"\x31\xc0\x83\xfa" + bytes([span])
    start += b"\x76\x0e\x48\x63\xff\x48\x8d\x05"
    distance = table - (at + len(start) + 4)
    return Patch(vaddr=at, data=start + struct.pack("<i", distance) + b"\x0f\xb6\x04\x38\xc3")


def _users(code: Code, start: int, end: int) -> Iterator[int]:
    """The functions that name an address from `start` up to `end`, which may be in .bss."""
    references = reader_for(code.source.machine)
    for number, one in enumerate(code.functions):
        data = bytes(code.image.bytes_at(one.start, one.size))
        if any(start <= target < end for target, _ in references(data, one.start)):
            yield number


def _numbers(code: Code) -> dict[str, int]:
    """The numbers of features beyond the baseline, by their names: rows of a number of 4 bytes and
    a name's address."""
    found: dict[str, int] = {}
    for at, to in Words(code).values.items():
        name = (code.text(to) or b"").decode("ascii", "replace")
        if _FEATURE.fullmatch(name) and _level(name) != "baseline":
            try:
                number, padding = struct.unpack("<II", code.image.bytes_at(at - 8, 8))
            except ElfError:
                continue
            if 0 < number < _MOST_FEATURES and padding == 0:
                found[name] = number
    return found
