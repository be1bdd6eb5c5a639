"""What level of processor code needs, by its instructions (x86_64 alone)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from layerpack.elf.code import Code
from layerpack.processor_levels import Level

#: Names of processors' features in iced-x86 (its CpuidFeature), as Intel's manual has them.
_AVX512: Final = re.compile(r"AVX512|AMX|AVX10")
_AVX2: Final = re.compile(r"AVX|FMA|F16C|XOP|VAES|VPCLMULQDQ")


def level_needed(code: Code, functions: Iterable[int]) -> Level:
    """The level that the code of some functions needs, were all of it run."""
    # Imported here: a build that drops nothing does without.
    from iced_x86 import Decoder  # noqa: PLC0415

    needed: Level = "baseline"
    kinds = _kinds()
    for number in functions:
        one = code.functions[number]
        data = bytes(code.image.bytes_at(one.start, one.size))
        for instruction in Decoder(64, data, ip=one.start):
            kind = kinds.get(instruction.code)
            if kind is None:
                kind = kinds[instruction.code] = _level_of(tuple(instruction.cpuid_features()))
            if kind == "avx512":
                return kind
            if kind == "avx2":
                needed = kind
    return needed


@cache
def _kinds() -> dict[int, Level]:
    """Levels by iced-x86's Code; filled as instructions are met."""
    return {}


def _level_of(features: tuple[int, ...]) -> Level:
    names = [_names()[feature] for feature in features]
    if any(_AVX512.match(name) for name in names):
        return "avx512"
    return "avx2" if any(_AVX2.match(name) for name in names) else "baseline"


@cache
def _names() -> dict[int, str]:
    from iced_x86 import CpuidFeature  # noqa: PLC0415

    return {value: name for name, value in vars(CpuidFeature).items() if name.isupper()}
