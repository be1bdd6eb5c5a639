"""BLIS's configurations, by small libraries of its shape."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from layerpack.kernels import LeftAlone, find_drops
from layerpack.processor_levels import Level
from tests.support.code import compiled
from tests.support.dropping import apply

_HEAD = """
typedef struct { int (*gemm)(int); int (*packm)(int); int block; } context;
typedef void (*filler)(context *);
static __attribute__((noinline)) int helper(int x) { return x ^ 5; }
"""
#: As in BLIS, each fills in what is plain C first, through the PLT.
_CONFIGURATION = """
int bli_gemm_{name}_asm(int x) {{ {asm} return helper(x) * {number}; }}
int bli_packm_{name}_ref(int x) {{ return helper(x) * 10 * {number}; }}
void bli_cntx_init_{name}_ref(context *to) {{ to->packm = bli_packm_{name}_ref; }}
void bli_cntx_init_{name}_ind(context *to) {{ to->block = {number}; }}
void bli_cntx_init_{name}(context *to) {{
    bli_cntx_init_{name}_ref(to);
    bli_cntx_init_{name}_ind(to);
    to->gemm = bli_gemm_{name}_asm;
}}
"""
_TAIL = """
static context contexts[9];
static filler references[9], induced[9];
void bli_gks_register_cntx(int id, filler native, filler reference, filler other) {{
    references[id] = reference;
    induced[id] = other;
    native(&contexts[id]);
}}
__attribute__((constructor)) void bli_gks_init(void) {{ {registered} }}
int run(int id) {{
    context again = {{0}};
    references[id](&again);
    induced[id](&again);
    return contexts[id].gemm(1) * 1000 + again.packm(1) + again.block;
}}
"""
_ASM = {"avx2": "vpaddd %ymm0, %ymm0, %ymm0", "avx512": "vpaddd %zmm0, %zmm0, %zmm0"}
#: Identifiers are places in the list, from 1 on.
_CONFIGURATIONS: dict[str, Level] = {
    "generic": "baseline",
    "sandybridge": "avx2",
    "haswell": "avx2",
    "zen": "avx2",
    "skx": "avx512",
}


def _library(path: Path, configurations: dict[str, Level], more: str = "") -> Path:
    parts = [
        _CONFIGURATION.format(
            name=name,
            number=number,
            asm=f'if (x == 99) __asm__("{_ASM[level]}");' if level in _ASM else "",
        )
        for number, (name, level) in enumerate(configurations.items(), 1)
    ]
    calls = (
        f"bli_gks_register_cntx({number}, bli_cntx_init_{name}, bli_cntx_init_{name}_ref, "
        f"bli_cntx_init_{name}_ind);"
        for number, name in enumerate(configurations, 1)
    )
    source = _HEAD + "".join(parts) + _TAIL.format(registered="".join(calls)) + more
    return compiled(path, source, "-O2", "-fno-inline")


@pytest.mark.parametrize(
    ("levels", "runs", "needs"),
    [
        (["avx2"], "haswell haswell haswell zen haswell", "avx2"),
        (["avx512"], "skx skx skx skx skx", "avx512"),
        (["avx512", "avx2"], "haswell haswell haswell zen skx", "avx2"),
        (["baseline"], "generic generic generic generic generic", ""),
        (["baseline", "avx2"], "generic generic haswell zen haswell", ""),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_each_processor_runs_what_is_kept(
    tmp_path: Path, levels: list[Level], runs: str, needs: str
) -> None:
    path = _library(tmp_path / "py.so", _CONFIGURATIONS)
    found = find_drops(path, levels)
    assert not isinstance(found, LeftAlone), found
    drops, variants = found.drops, found.variants
    assert {one.name: one.level for one in variants} == _CONFIGURATIONS
    assert {one.name for one in variants if one.kept} == set(runs.split())
    assert drops.needs == needs
    whole = ctypes.CDLL(str(path))
    small = ctypes.CDLL(str(apply(path, drops, tmp_path / "dropped" / "py.so")))
    names = [*_CONFIGURATIONS]
    assert [whole.run(1 + names.index(name)) for name in runs.split()] == [
        small.run(number) for number in range(1, 1 + len(names))
    ]
    gone = {one.name for one in drops.dropped}
    assert f"bli_packm_{runs.split(maxsplit=1)[0]}_ref" not in gone
    assert ("bli_gemm_skx_asm" in gone) == ("skx" not in runs)


def test_one_that_something_else_uses_stays(tmp_path: Path) -> None:
    again = "void again(void) { bli_cntx_init_skx(contexts); }"
    path = _library(tmp_path / "py.so", _CONFIGURATIONS, again)
    reason = "something else than BLIS's registry uses a configuration"
    assert find_drops(path, ["avx2"]) == LeftAlone(reason=reason)
    assert not isinstance(find_drops(path, ["avx512"]), LeftAlone)


def test_a_single_configuration_stays(tmp_path: Path) -> None:
    path = _library(tmp_path / "py.so", {"haswell": "avx2"})
    reason = "it has no configurations of BLIS for different processors"
    assert find_drops(path, ["baseline"]) == LeftAlone(reason=reason)
