"""OpenBLAS's cores, by small libraries of its shape."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from layerpack.kernels import LeftAlone, Variant, find_drops
from layerpack.processor_levels import Level
from tests.support.code import compiled
from tests.support.dropping import apply

#: A kernel and what is behind it, with instructions that a processor of the core has.
_CORE = """
extern table gotoblas_{core};
static {noinline} int own_{core}(int x) {{ {asm} return helper(x) * {number}; }}
int kernel_{core}(int x) {{ return own_{core}(x) + 1; }}
static void init_{core}(void) {{ gotoblas_{core}.block = {number}; }}
table gotoblas_{core} {visibility} = {{0, kernel_{core}, init_{core}}};
"""
_HEAD = """
#include <stdlib.h>
#include <strings.h>
typedef struct { int block; int (*kernel)(int); void (*init)(void); } table;
static __attribute__((noinline)) int helper(int x) { return x ^ 5; }
"""
_TAIL = """
table *gotoblas;
const char *gotoblas_corename(void) {{ {names} return "?"; }}
__attribute__((constructor)) void gotoblas_dynamic_init(void) {{
    const char *asked = getenv("CORE");
    {chosen}
    gotoblas->init();
}}
int block(void) {{ return gotoblas->block; }}
int run(void) {{ return gotoblas->kernel(0); }}
"""
_ASM = {"avx2": "vpaddd %ymm0, %ymm0, %ymm0", "avx512": "vpaddd %zmm0, %zmm0, %zmm0"}
#: What each core's instructions need; the number of each is its place in the list.
_CORES: dict[str, Level] = {
    "PRESCOTT": "baseline",
    "SANDYBRIDGE": "avx2",
    "HASWELL": "avx2",
    "ZEN": "avx2",
    "SKYLAKEX": "avx512",
}


def _library(path: Path, cores: dict[str, Level], visibility: str = "", more: str = "") -> Path:
    parts = [
        _CORE.format(
            core=core,
            number=number,
            noinline="__attribute__((noinline))",
            visibility=visibility,
            # Behind a condition that does not hold: the library runs on any processor.
            asm=f'if (x == 99) __asm__("{_ASM[level]}");' if level in _ASM else "",
        )
        for number, (core, level) in enumerate(cores.items(), 1)
    ]
    names = "".join(f'if (gotoblas == &gotoblas_{one}) return "{one}";' for one in cores)
    chosen = "".join(
        f'if (asked && !strcasecmp(asked, "{one}")) gotoblas = &gotoblas_{one}; else '
        for one in cores
    )
    tail = _TAIL.format(names=names, chosen=f"{chosen} gotoblas = &gotoblas_{[*cores][-1]};")
    text = _HEAD + "".join(parts) + tail + more
    return compiled(path, text, "-O2", "-fno-inline", stripped="hidden" not in visibility)


def _found(path: Path, levels: Sequence[Level]) -> tuple[Variant, ...]:
    found = find_drops(path, levels)
    assert not isinstance(found, LeftAlone), found
    return found.variants


def _run(library: Path, core: str) -> str:
    """What the library says: its core's name, how it is set up, what its kernel gives."""
    program = (
        f"import ctypes; one = ctypes.CDLL({str(library)!r})\n"
        "one.gotoblas_corename.restype = ctypes.c_char_p\n"
        "print(one.gotoblas_corename().decode(), one.block(), one.run())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CORE": core},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.strip() or f"ended by {ran.returncode}"


#: Through the GOT, as exported names are; directly, as a linker may make it; and with names that
#: only the symbol table has, as numpy's wheels have had them since 2.5.
@pytest.fixture(
    params=["", *(f'__attribute__((visibility("{one}")))' for one in ("protected", "hidden"))],
    ids=["got", "direct", "hidden"],
)
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _library(tmp_path / "libopenblas.so", _CORES, request.param)


@pytest.mark.parametrize(
    ("levels", "stay", "needs"),
    [
        (["avx2"], "HASWELL", "avx2"),
        (["avx512"], "SKYLAKEX", "avx512"),
        (["avx512", "avx2"], "HASWELL SKYLAKEX", "avx2"),
        (["baseline"], "PRESCOTT", ""),
        (["baseline", "avx512"], "PRESCOTT SKYLAKEX", ""),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_whatever_is_chosen_is_there(
    library: Path, tmp_path: Path, levels: list[Level], stay: str, needs: str
) -> None:
    found = find_drops(library, levels)
    assert not isinstance(found, LeftAlone), found
    drops, variants = found.drops, found.variants
    assert {one.name: one.level for one in variants} == _CORES
    assert " ".join(core for core in _CORES if _kept(variants, core)) == stay
    assert drops.needs == needs
    assert drops.needs_hint == ("add 'baseline' to cpu.x86_64 in the recipe" if needs else "")
    small = apply(library, drops, tmp_path / "dropped" / "libopenblas.so")
    for core in _CORES:
        said = _run(small, core)
        assert said.split()[0] in stay.split()
        assert said == _run(library, said.split()[0])
        assert (said.split()[0] == core) == (core in stay.split())


def _kept(variants: Sequence[Variant], core: str) -> bool:
    return next(one for one in variants if one.name == core).kept


def test_what_goes_is_only_that_of_the_cores(library: Path) -> None:
    found = find_drops(library, ["avx2"])
    assert not isinstance(found, LeftAlone)
    gone = {one.name: one.hint for one in found.drops.dropped if one.name}
    again = "add 'avx512' to cpu.x86_64 in the recipe"
    assert gone == {
        "kernel_PRESCOTT": "add 'baseline' to cpu.x86_64 in the recipe",
        "kernel_SANDYBRIDGE": "leave cpu.x86_64 out of the recipe",
        "kernel_ZEN": "leave cpu.x86_64 out of the recipe",
        "kernel_SKYLAKEX": again,
    }
    # Each brings its own function and its initialisation along; what all share stays.
    assert len(found.drops.dropped) == 12


def test_a_level_is_named_where_it_brings_something_back(library: Path) -> None:
    found = find_drops(library, ["baseline"])
    assert not isinstance(found, LeftAlone)
    gone = {one.name: one.hint for one in found.drops.dropped if one.name}
    assert gone == {
        "kernel_SANDYBRIDGE": "leave cpu.x86_64 out of the recipe",
        "kernel_HASWELL": "add 'avx2' to cpu.x86_64 in the recipe",
        "kernel_ZEN": "leave cpu.x86_64 out of the recipe",
        "kernel_SKYLAKEX": "add 'avx512' to cpu.x86_64 in the recipe",
    }


def test_a_processor_with_avx_alone_gets_what_it_can_run(library: Path, tmp_path: Path) -> None:
    """Sandy Bridge's kernels go, and the next that are kept need more."""
    found = find_drops(library, ["baseline", "avx2"])
    assert not isinstance(found, LeftAlone)
    small = apply(library, found.drops, tmp_path / "dropped" / "libopenblas.so")
    assert _run(small, "SANDYBRIDGE").startswith("PRESCOTT")
    assert _run(small, "SKYLAKEX").startswith("HASWELL")


def test_a_level_without_kernels_is_the_next_lesser_one(tmp_path: Path) -> None:
    cores = {core: level for core, level in _CORES.items() if core != "SKYLAKEX"}
    path = _library(tmp_path / "libopenblas.so", cores)
    found = find_drops(path, ["avx512"])
    assert not isinstance(found, LeftAlone)
    assert [one.name for one in found.variants if one.kept] == ["HASWELL"]
    assert found.drops.needs == "avx2"


def test_a_core_that_is_not_known_stays(tmp_path: Path) -> None:
    path = _library(tmp_path / "libopenblas.so", {**_CORES, "NOVALAKE": "avx512"})
    assert "NOVALAKE" not in {one.name for one in _found(path, ["avx2"])}
    found = find_drops(path, ["avx2"])
    assert not isinstance(found, LeftAlone)
    small = apply(path, found.drops, tmp_path / "dropped" / "libopenblas.so")
    assert _run(small, "NOVALAKE") == _run(path, "NOVALAKE")


def test_kernels_of_another_kind_that_stay_are_told_of(tmp_path: Path) -> None:
    more = 'const char *asks(void) { return "DNNL_MAX_CPU_ISA"; }'
    found = find_drops(_library(tmp_path / "libboth.so", _CORES, more=more), ["avx2"])
    assert not isinstance(found, LeftAlone), found
    assert found.drops
    assert found.left == LeftAlone(reason="its version of oneDNN is not known")
    assert find_drops(compiled(tmp_path / "libdnnl.so", more), ["avx2"]) == found.left


def test_what_is_in_doubt_stays(tmp_path: Path) -> None:
    wrong: dict[str, Level] = {**_CORES, "HASWELL": "avx512"}
    path = _library(tmp_path / "libopenblas.so", wrong)
    assert find_drops(path, ["avx2"]) == LeftAlone(reason="its kernels for HASWELL need avx512")
    one = _library(tmp_path / "one.so", {"HASWELL": "avx2"})
    reason = "it has no tables of kernels for different cores"
    assert find_drops(one, ["avx2"]) == LeftAlone(reason=reason)
    other = compiled(tmp_path / "other.so", "int one(void) { return 1; }")
    reason = "it has no kernels of a kind that is known"
    assert find_drops(other, ["avx2"]) == LeftAlone(reason=reason)
