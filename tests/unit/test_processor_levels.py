"""Levels of the processor, and what tells libraries of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.processor_levels import flags_in, lacking, levels_here, name_in, variables


@pytest.fixture
def libraries(tmp_path: Path) -> list[Path]:
    """What the names of three libraries look like in their files."""
    texts = {
        "libopenblas.so": b"\0OPENBLAS_CORETYPE\0Haswell\0Prescott\0",
        "libdnnl.so": b"\0DNNL_MAX_CPU_ISA\0avx2\0avx512_core\0",
        "umath.so": b"\0NPY_DISABLE_CPU_FEATURES\0AVX2\0AVX512F\0AVX512_SKX\0FMA3\0",
    }
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in texts]


def test_libraries_are_told_by_the_names_that_they_know(libraries: list[Path]) -> None:
    assert variables("avx2", libraries) == {
        "OPENBLAS_CORETYPE": "Haswell",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX",
    }
    # This OpenBLAS has no kernels of that name.
    assert variables("avx512", libraries) == {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}
    # What is beneath AVX may be what numpy is compiled for, which it does not let one take away.
    assert variables("baseline", libraries) == {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 AVX512F AVX512_SKX FMA3",
    }
    assert variables("avx2", []) == {}


def test_what_the_processor_lacks_is_told() -> None:
    flags = flags_in("processor\t: 0\nflags\t\t: fpu avx avx2 fma avx512f\nbugs\t: x\n")
    assert lacking("avx2", flags) == ()
    assert lacking("avx512", flags) == ("avx512bw", "avx512cd", "avx512dq", "avx512vl")
    assert lacking("baseline", frozenset()) == ()


def test_arm_calls_it_features() -> None:
    flags = flags_in("processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimdhp asimddp\n")
    assert lacking("neon", flags) == ()
    assert lacking("sve", flags) == ("sve",)


def test_a_run_without_levels_is_one_without_variables(libraries: list[Path]) -> None:
    assert levels_here((), libraries) == [{}]


def test_a_processor_has_a_name_where_linux_tells_it() -> None:
    text = "processor\t: 0\nmodel name\t: AMD EPYC 7R13 Processor\nflags\t\t: fpu avx2\n"
    assert name_in(text) == "AMD EPYC 7R13 Processor"
    assert name_in("processor\t: 0\nCPU part\t: 0xd0c\n") == ""
