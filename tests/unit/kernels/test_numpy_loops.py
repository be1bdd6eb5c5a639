"""numpy's loops, by small libraries of their shape."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.kernels import LeftAlone, find_drops
from layerpack.passes.api import PassContext
from layerpack.passes.reduced_kernels import KernelReductions
from layerpack.payload import FileEntry
from layerpack.processor_levels import Level
from tests.support.dropping import apply
from tests.support.recipes import load
from tests.unit.elf.libraries import debug_library

_FEATURES = {"SSE42": 8, "AVX2": 14, "FMA3": 13, "AVX512F": 30, "AVX512_SKX": 103, "X86_V3": 109}
#: The one that tells is as gcc makes it in numpy's wheels.
_HEAD = """
#include <stddef.h>
#define HIDDEN __attribute__((visibility("hidden"), noinline))
__attribute__((visibility("hidden"))) unsigned char npy__cpu_have[500];
__asm__(".local npy_cpu_have\\n.type npy_cpu_have, @function\\n.p2align 4\\nnpy_cpu_have:\\n"
        ".byte 0x8d,0x57,0xff,0x31,0xc0,0x81,0xfa\\n.long 0x1f3\\n.byte 0x77,0x0e,0x48,0x63,0xff\\n"
        "lea npy__cpu_have(%rip), %rax\\nmovzbl (%rax,%rdi,1), %eax\\nret\\n"
        ".size npy_cpu_have, .-npy_cpu_have\\n");
extern int npy_cpu_have(int) __attribute__((visibility("hidden")));
__attribute__((used)) static const char *variable = "NPY_DISABLE_CPU_FEATURES";
"""
_TABLE = """
__attribute__((used)) static volatile struct {{ int number; const char *name; }} features[] = {{
    {rows}
}};
void npy_cpu_init(void) {{
    for (size_t at = 0; at < sizeof features / sizeof *features; at++)
        npy__cpu_have[features[at].number] = 1;
}}
"""
_LOOPS = """
static __attribute__((noinline)) int shared(int x) { return x ^ 5; }
static __attribute__((noinline)) int inner512(int x) {
    if (x == 99) __asm__("vpaddd %zmm0, %zmm0, %zmm0");
    return x + 1;
}
HIDDEN int LONG_add(int x) { return shared(x) + 1000; }
HIDDEN int LONG_add_SSE42(int x) { return shared(x) + 2000; }
HIDDEN int LONG_add_FMA3__AVX2(int x) { return shared(x) + 3000; }
HIDDEN int LONG_add_AVX512_SKX(int x) { return inner512(x) + shared(x) + 4000; }
HIDDEN int LONG_sort_AVX512F(int x) { return inner512(x) + 5000; }
HIDDEN int LONG_lost_AVX512F(int x) { return x + 6000; }
int add(int x) {
    if (npy_cpu_have(103)) return LONG_add_AVX512_SKX(x);
    if (npy_cpu_have(13) && npy_cpu_have(14)) return LONG_add_FMA3__AVX2(x);
    if (npy_cpu_have(8)) return LONG_add_SSE42(x);
    return LONG_add(x);
}
int (*sorter(void))(int) { return npy_cpu_have(30) ? LONG_sort_AVX512F : LONG_add; }
int sort(int x) { return sorter()(x); }
int lost(int x) { return LONG_lost_AVX512F(x); }
int have(int number) { return npy_cpu_have(number); }
"""


def _library(path: Path, more: str = "", **numbers: int) -> Path:
    features = {**_FEATURES, **numbers}
    rows = ", ".join(f'{{{number}, "{name}"}}' for name, number in features.items())
    source = _HEAD + _TABLE.format(rows=rows) + _LOOPS + more
    return debug_library(path, "-O2", "-fno-inline", source=source)


@pytest.mark.parametrize(
    ("level", "has", "added", "sorted_"),
    [
        ("avx2", "SSE42 AVX2 FMA3 X86_V3", 3000, 1000),
        ("baseline", "SSE42", 2000, 1000),
    ],
)
def test_features_beyond_the_level_count_as_absent(
    tmp_path: Path, level: Level, has: str, added: int, sorted_: int
) -> None:
    path = _library(tmp_path / "umath.so")
    found = find_drops(path, [level])
    assert not isinstance(found, LeftAlone), found
    small = ctypes.CDLL(str(apply(path, found.drops, tmp_path / "dropped" / "umath.so")))
    small.npy_cpu_init()
    assert [name for name, number in _FEATURES.items() if small.have(number)] == has.split()
    assert small.have(0) == small.have(-1) == 0
    assert (small.add(1), small.sort(1)) == (added + 4, sorted_ + 4)
    # Something that does not ask before uses it.
    assert small.lost(1) == 6001


def test_what_goes_are_loops_and_what_is_behind_them(tmp_path: Path) -> None:
    path = _library(tmp_path / "umath.so")
    found = find_drops(path, ["avx2"])
    assert not isinstance(found, LeftAlone), found
    drops, variants = found.drops, found.variants
    assert [(one.name, one.level, one.kept, len(one.functions)) for one in variants] == [
        ("AVX512F", "avx512", False, 1),
        ("AVX512_SKX", "avx512", False, 1),
        ("FMA3__AVX2", "avx2", True, 1),
    ]
    # Both loops, and the function that is there for the two of them.
    assert len(drops.dropped) == 3
    assert {one.hint for one in drops.dropped} >= {"add 'avx512' to cpu.x86_64 in the recipe"}
    assert drops.needs == ""


def test_levels_in_between_lose_nothing(tmp_path: Path) -> None:
    path = _library(tmp_path / "umath.so")
    found = find_drops(path, ["baseline", "avx512"])
    assert not isinstance(found, LeftAlone), found
    assert not found.drops
    assert all(one.kept for one in found.variants)


def test_only_what_is_in_doubt_is_warned_of(tmp_path: Path) -> None:
    recipe = load(tmp_path, more="architecture: x86_64\ncpu: {x86_64: [avx512]}\n")
    context = PassContext(recipe=recipe, profile=recipe.profile, cache=tmp_path, room=0)
    reductions = KernelReductions(context, tmp_path / "reduced")
    path = _library(tmp_path / "umath.so")
    nothing = reductions.of(FileEntry.of(path, "python/umath.so", "numpy"))
    assert (bool(nothing.drops), nothing.reason) == (False, "")
    assert [(part.name, part.kept) for part in nothing.parts] == [
        ("AVX512F", True),
        ("AVX512_SKX", True),
        ("FMA3__AVX2", True),
    ]
    stripped = elf.strip_file(path)
    assert isinstance(stripped, bytes)
    path.write_bytes(stripped)
    unknown = reductions.of(FileEntry.of(path, "python/umath.so", "numpy"))
    assert unknown.reason == "its kernels all stay: its symbols are gone, which name its loops"


def test_what_is_in_doubt_stays(tmp_path: Path) -> None:
    looks = "int look(void) { return npy__cpu_have[30]; }"
    path = _library(tmp_path / "umath.so", looks)
    reason = "something else looks at what the processor has"
    assert find_drops(path, ["avx2"]) == LeftAlone(reason=reason)
    # What would count as absent is told by the first and the last number.
    between = _library(tmp_path / "between.so", AVX2=31)
    reason = "features that stay are numbered among those that go"
    assert find_drops(between, ["avx2"]) == LeftAlone(reason=reason)
    stripped = elf.strip_file(_library(tmp_path / "other.so"))
    assert isinstance(stripped, bytes)
    (tmp_path / "stripped.so").write_bytes(stripped)
    reason = "its symbols are gone, which name its loops"
    assert find_drops(tmp_path / "stripped.so", ["avx2"]) == LeftAlone(reason=reason)
