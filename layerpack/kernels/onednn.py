"""oneDNN's generators of code: C++ classes for instruction sets, told by their names (RTTI).

An implementation asks whether the processor has its instruction set (`mayiuse`) before an object
of such a class is made; then its functions are called through the object's table of functions. The
answer is bounded by a setting that is read from the environment (DNNL_MAX_CPU_ISA) when it is first
asked for. Where classes go, that setting is bounded as it is stored, so that they are never made.

Which bits of a `cpu_isa_t` stand for what, and the setting: oneDNN's `cpu_isa_traits.hpp` (2.x; 3.0
numbers them anew, and is left alone).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import NO_DROPS, Patch
from layerpack.kernels.graph import only_behind
from layerpack.kernels.redirect import Words
from layerpack.kernels.variants import LeftAlone, Variants, drops, levels_of, variant
from layerpack.processor_levels import Level

#: In the bytes of every library of the family.
MARK: Final = b"DNNL_MAX_CPU_ISA\0"
#: A name for the setting that only 2.x has.
_VERSION_2: Final = b"\0AVX512_MIC\0"
_SETTING: Final = b"DNNL_MAX_CPU_ISA"
_CLASS: Final = re.compile(rb"\*?(?:N|St23_Sp_counted_ptr_inplaceIN)4dnnl4impl3cpu3x64")
#: What describes an implementation, and asks; it is made whatever the processor has.
_DESCRIPTION: Final = b"4pd_t"
_ISA: Final = re.compile(rb"9cpu_isa_tE(\d+)E")
_NAMED: Final[tuple[tuple[re.Pattern[bytes], Level], ...]] = (
    (re.compile(rb"avx512|\d+amx"), "avx512"),
    (re.compile(rb"jit_avx2?_|avx_gemm"), "avx2"),
)
#: The bits of instruction sets up to a level: SSE4.1; AVX, AVX2 and AVX-VNNI besides.
_BITS: Final[dict[Level, int]] = {"baseline": 0x1, "avx2": 0x1007}
#: What the setting is bounded to: what it is where the variable says SSE41 or AVX2. Products of
#: bytes come out otherwise with AVX-VNNI, which processors of the next level have too.
_BOUNDS: Final[dict[Level, int]] = {"baseline": 0x1, "avx2": 0x7}
#: mov %reg, value(%rip); movl $0, state(%rip): by registers without a prefix.
_STORE: Final = re.compile(
    rb"\x89([\x05\x0d\x15\x1d\x2d\x35\x3d])(....)\xc7\x05(....)\x00\x00\x00\x00", re.DOTALL
)


def find(code: Code, kept: Sequence[Level]) -> Variants | LeftAlone:
    """The classes that a library has for instruction sets, by levels, and the drops of those for
    more than the highest of `kept`: lesser ones are used where there are no others.

    Raises ElfError.
    """
    if code.source.machine != "x86_64" or _VERSION_2 not in bytes(code.view):
        return LeftAlone(reason="its version of oneDNN is not known")
    order = levels_of(code)
    highest = max(kept, key=order.index)
    tables: dict[Level, set[int]] = {}
    for node, level in _tables(code):
        tables.setdefault(level, set()).add(node)
    found = []
    for level, entries in sorted(tables.items(), key=lambda one: order.index(one[0])):
        own = only_behind(code, entries, called=True)
        stays = order.index(level) <= order.index(highest)
        found.append(variant(code, own, name=level, level=level, kept=stays))
    gone = {node for one in found if not one.kept for node in tables[one.level]}
    if not gone:
        return Variants(found=tuple(found), drops=NO_DROPS)
    patch = _pin(code, _BOUNDS[highest])
    if isinstance(patch, LeftAlone):
        return patch
    made = drops(
        code,
        only_behind(code, gone, called=True),
        patches=[patch],
        variants=found,
        kept=kept,
        needs=order[0],
    )
    return Variants(found=tuple(found), drops=made)


def _tables(code: Code) -> Iterator[tuple[int, Level]]:
    """The tables of functions of classes for instruction sets beyond the baseline, with the level
    that each needs (Itanium C++ ABI, 2.5.2 and 2.9.5)."""
    values = Words(code).values
    classes: dict[int, Level] = {}
    for at, to in values.items():
        name = code.text(to)
        if name and _CLASS.match(name) and _DESCRIPTION not in name:
            level = _level(name)
            if level != "baseline":
                # The name's address is the second word of what tells of a class.
                classes[at - 8] = level
    for at, to in values.items():
        # Behind the address of that are those of the functions.
        node = code.node(at + 8) if to in classes and at + 8 in values else None
        first = code.node(values.get(at + 8, 0)) if node is not None else None
        if node is not None and first is not None and first < len(code.functions):
            yield node, classes[to]


def _level(name: bytes) -> Level:
    bits = 0
    for match in _ISA.finditer(name):
        bits |= int(match[1])
    if bits & ~_BITS["avx2"]:
        return "avx512"
    for pattern, level in _NAMED:
        if pattern.search(name):
            return level
    return "avx2" if bits & ~_BITS["baseline"] else "baseline"


def _pin(code: Code, bits: int) -> Patch | LeftAlone:
    """What bounds the setting to some bits where it is stored."""
    readers = {number for number, at in code.constants() if code.text(at) == _SETTING}
    places = []
    for number in readers:
        one = code.functions[number]
        data = bytes(code.image.bytes_at(one.start, one.size))
        for match in _STORE.finditer(data):
            value, state = (int.from_bytes(match[n], "little", signed=True) for n in (2, 3))
            # From the ends of the two instructions; the state is the word behind the value.
            if match.start() + 6 + value + 4 == match.end() + state:
                places.append((one.start + match.start(), match[1][0] >> 3 & 7, value))
    if len(readers) != 1 or len(places) != 1:
        return LeftAlone(reason="its setting of oneDNN is stored in an unknown way")
    # and $bits, %reg; mov %reg, value(%rip); the state is 0 before.
    ((at, register, value),) = places
    data = b"\x81" + bytes([0xE0 | register]) + struct.pack("<I", bits)
    data += b"\x89" + bytes([register << 3 | 5]) + struct.pack("<i", value - 6)
    return Patch(vaddr=at, data=data + b"\x0f\x1f\x40\x00")
