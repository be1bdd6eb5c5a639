"""Packed data on aarch64, emulated."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from layerpack.elf import PackOptions, read_file
from tests.support.data import noise
from tests.support.roots import System, emulated_aarch64, packed
from tests.support.twins import Twins, filler

pytestmark = pytest.mark.roots

LIBRARY: Final = filler(200) + noise() + Path(__file__).with_name("data.c").read_text()
CALLER: Final = """
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = NULL;
    for (int i = 1; i < argc; i++) library = dlopen(argv[i], RTLD_NOW);
    if (library == NULL) { fprintf(stderr, "%s\\n", dlerror()); return 2; }
    int (*result)(int) = (int (*)(int))dlsym(library, "result");
    int (*again)(void) = (int (*)(void))dlsym(library, "again");
    uint64_t (*sum)(void) = (uint64_t (*)(void))dlsym(library, "sum");
    for (int i = 0; i < 5; i++) printf("%d\\n", result(i));
    printf("%lx %d\\n", sum(), again());
    return 0;
}
"""


@pytest.fixture(scope="module")
def emulated() -> System:
    return emulated_aarch64()


@pytest.fixture(scope="module")
def caller(emulated: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emulated.compile(tmp_path_factory.mktemp("caller") / "caller", CALLER, "-pie")


@pytest.mark.parametrize(
    "options",
    [(), ("-Wl,-z,noseparate-code",), ("-nostartfiles",), ("-mbranch-protection=standard",)],
    ids=["as it is", "in one segment", "without DT_INIT", "with BTI"],
)
def test_a_constructor_may_hand_data_to_the_kernel(
    emulated: System, caller: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    original = emulated.compile(tmp_path / "original/libtwin.so", LIBRARY, *options)
    pair: Twins = packed(original, tmp_path / "packed", PackOptions(level=3, data=True))
    assert read_file(pair.packed).machine == "aarch64"
    assert pair.packed.stat().st_size < pair.original.stat().st_size / 3
    expected = emulated.run(caller, pair.original, library=pair.original)
    assert (expected.code, expected.out.count("from a constructor\n")) == (0, 4)
    assert "\n0\n0\n0\n0\n0\n" in f"\n{expected.out}"
    assert emulated.run(caller, pair.packed, library=pair.packed) == expected
    # The pager comes first.
    other = emulated.compile(tmp_path / "original/libother.so", filler(120, seed=2))
    first = packed(other, tmp_path / "packed").packed
    assert emulated.run(caller, first, pair.packed, library=pair.packed) == expected
