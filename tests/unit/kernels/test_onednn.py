"""oneDNN's classes for instruction sets, by a small library of its shape."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.kernels import LeftAlone, find_drops
from layerpack.processor_levels import Level
from tests.support.code import compiled
from tests.support.dropping import apply

pytestmark = pytest.mark.cxx

_SOURCE = """
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
namespace dnnl { namespace impl { namespace cpu { namespace x64 {
enum cpu_isa_t : unsigned {
    sse41 = 1, avx2 = 7, avx2_vnni = 0x1007, avx512_core = 79, isa_all = 0x7ffff1ff
};
struct setting {
    unsigned value;
    std::atomic<unsigned> state;
    explicit setting(unsigned given) : value(given), state(0) {}
};
static unsigned asked() {
    const char *text = getenv("DNNL_MAX_CPU_ISA");
    if (!text || !strcmp(text, "ALL")) return isa_all;
    if (!strcmp(text, "SSE41")) return sse41;
    if (!strcmp(text, "AVX2")) return avx2;
    return strcmp(text, "AVX512_MIC") ? avx512_core : 31;
}
__attribute__((noinline)) static setting &max_cpu_isa() {
    static setting one(asked());
    return one;
}
static bool mayiuse(unsigned isa) { return (max_cpu_isa().value & isa) == isa; }
__attribute__((noinline)) static int helper(int x) { return x ^ 5; }
__attribute__((noinline)) static int wide(int x) { return x * 3 + 1; }
struct primitive {
    virtual int execute(int x) const = 0;
    virtual ~primitive() = default;
};
template <cpu_isa_t isa> struct jit_uni_thing_t : primitive {
    int execute(int x) const override {
        return helper(x) + 1000 * isa + (isa == avx512_core ? wide(x) : 0);
    }
};
struct jit_avx512_core_other_t : primitive {
    int execute(int x) const override { return wide(x) * 7; }
};
struct description {
    virtual primitive *create() const = 0;
    virtual ~description() = default;
};
template <cpu_isa_t isa> struct maker_t {
    struct pd_t : description {
        primitive *create() const override {
            return mayiuse(isa) ? new jit_uni_thing_t<isa>() : nullptr;
        }
    };
};
static std::unique_ptr<primitive> made(int other) {
    if (other && mayiuse(avx512_core)) return std::make_unique<jit_avx512_core_other_t>();
    std::unique_ptr<description> all[] = {
        std::make_unique<maker_t<avx512_core>::pd_t>(),
        std::make_unique<maker_t<avx2_vnni>::pd_t>(),
        std::make_unique<maker_t<avx2>::pd_t>(),
        std::make_unique<maker_t<sse41>::pd_t>(),
    };
    for (auto &one : all)
        if (auto *found = one->create()) return std::unique_ptr<primitive>(found);
    return nullptr;
}
}}}}
extern "C" __attribute__((visibility("default"))) int run(int other) {
    return dnnl::impl::cpu::x64::made(other)->execute(1);
}
"""


def _library(path: Path, source: str = _SOURCE) -> Path:
    return compiled(path, source, "-O2", "-fvisibility=hidden", language="c++", machine="x86_64")


def _runs(library: Path, isa: str) -> list[int]:
    program = f"import ctypes; one = ctypes.CDLL({str(library)!r}); print(one.run(0), one.run(1))"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DNNL_MAX_CPU_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in ran.stdout.split()]


@pytest.mark.parametrize(
    ("levels", "isa", "gone"),
    [(["avx2"], "AVX2", "avx512"), (["baseline"], "SSE41", "avx2 avx512")],
    ids=["avx2", "baseline"],
)
def test_the_setting_is_bounded(tmp_path: Path, levels: list[Level], isa: str, gone: str) -> None:
    path = _library(tmp_path / "libdnnl.so")
    found = find_drops(path, levels)
    assert not isinstance(found, LeftAlone), found
    drops, variants = found.drops, found.variants
    assert " ".join(one.name for one in variants if not one.kept) == gone
    assert drops.needs == ""
    small = apply(path, drops, tmp_path / "dropped" / "libdnnl.so")
    plain = _runs(path, isa)
    assert plain == _runs(small, isa) == _runs(small, "ALL") == _runs(small, "AVX512_CORE")
    assert _runs(path, "ALL") != plain
    assert _runs(small, "SSE41") == _runs(path, "SSE41")
    # It is gone indeed: nothing but the bound keeps from it.
    loose = apply(path, replace(drops, patches=()), tmp_path / "loose" / "libdnnl.so")
    assert _runs(loose, isa) == plain
    with pytest.raises(subprocess.CalledProcessError, match="SIGSEGV"):
        _runs(loose, "ALL")


def test_the_highest_level_loses_nothing(tmp_path: Path) -> None:
    found = find_drops(_library(tmp_path / "libdnnl.so"), ["avx512", "avx2"])
    assert not isinstance(found, LeftAlone), found
    assert not found.drops
    assert [(one.name, one.kept) for one in found.variants] == [("avx2", True), ("avx512", True)]


def test_what_is_in_doubt_stays(tmp_path: Path) -> None:
    other = _SOURCE.replace("value(given), state(0)", "value(given), state(1)")
    path = _library(tmp_path / "state.so", other)
    reason = "its setting of oneDNN is stored in an unknown way"
    assert find_drops(path, ["avx2"]) == LeftAlone(reason=reason)
    path = _library(tmp_path / "version.so", _SOURCE.replace("AVX512_MIC", "AVX512_NEW"))
    reason = "its version of oneDNN is not known"
    assert find_drops(path, ["avx2"]) == LeftAlone(reason=reason)
