"""Packed code asks which library it lies in, or others do: unwinders, dladdr, dlopen.

Before glibc 2.35, and with an unwinder of its own (LLVM's) on any, an address belongs to a library
if one of its program headers covers it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerpack.elf import PackOptions, read_file
from tests.support.compilers import compile_source
from tests.support.roots import System, debian, emulated_aarch64, packed
from tests.support.twins import FUNCTIONS, Run, Twins, compile_c, filler, is_paged, run

HERE = Path(__file__).parent
SOURCE = filler() + (HERE / "unwinding.c").read_text()
#: What the library finds by its own DT_RUNPATH alone.
NEIGHBOUR = "int neighbour(void) { return 1; }"
#: It needs no libc of the machine that it is made on; its unwinder is linked into it.
LLVM = ("-fPIC", "-shared", "-O1", "-fexceptions", f"-DFUNCTIONS={FUNCTIONS}", "-D_GNU_SOURCE")

PROGRAM = r"""
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
struct search { uintptr_t address; const char *found; };
static int holds(struct dl_phdr_info *object, size_t size, void *data) {
    struct search *search = data;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD &&
            search->address - object->dlpi_addr - header->p_vaddr < header->p_memsz) {
            search->found = base_name(object->dlpi_name);
            return 1;
        }
    }
    return (void)size, 0;
}
static void *library;
static void pages(char **argv) {
    struct link_map *map = NULL;
    dlinfo(library, RTLD_DI_LINKMAP, &map);
    for (; argv[0] && argv[1]; argv += 2) {
        uintptr_t end = strtoul(argv[1], NULL, 10);
        for (uintptr_t at = strtoul(argv[0], NULL, 10); at < end; at += 256) {
            struct search search = {map->l_addr + at, "none"};
            Dl_info told = {.dli_fname = "none"};
            dl_iterate_phdr(holds, &search);
            dladdr((void *)search.address, &told);
            printf("%lx %s %s\n", (long)at, search.found, base_name(told.dli_fname));
        }
    }
}
int main(int argc, char **argv) {
    if (argc < 2 || (library = dlopen(argv[1], RTLD_LAZY)) == NULL)
        return fprintf(stderr, "%s\n", dlerror()), 2;
    int (*opens)(const char *) = (int (*)(const char *))dlsym(library, "opens");
    int (*finds_next)(const char *) = (int (*)(const char *))dlsym(library, "finds_next");
    int (*frames)(int) = (int (*)(int))dlsym(library, "frames");
    pages(argv + 2);
    printf("opens %d\n", opens("libneighbour.so"));
    printf("finds next %d\n", finds_next("puts"));
    printf("frames %d %d\n", frames(0), frames(40));
    pages(argv + 2);
    return 0;
}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where it is compiled, and run."""

    compile: Callable[..., Path]
    run: Callable[..., Run]
    zig: str | None = None


def _here() -> Place:
    return Place(compile=compile_c, run=run, zig="x86_64")


def _of(system: System, zig: str | None = None) -> Place:
    return Place(compile=system.compile, run=system.run, zig=zig)


@pytest.fixture(
    scope="module",
    params=["here", *(pytest.param(n, marks=pytest.mark.roots) for n in ("2.31", "aarch64"))],
)
def place(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    if request.param == "here":
        return _here()
    if request.param == "aarch64":
        return _of(emulated_aarch64(), "aarch64")
    cache = pytestconfig.cache
    assert cache is not None
    return _of(debian("bullseye", cache.mkdir("roots"), tmp_path_factory.getbasetemp()), "x86_64")


@pytest.fixture(scope="module", params=["gcc", "llvm"])
def pair(
    request: pytest.FixtureRequest, place: Place, tmp_path_factory: pytest.TempPathFactory
) -> Twins:
    """The library with GCC's unwinder, of the system or its own, or with LLVM's."""
    folder = tmp_path_factory.mktemp("pair")
    path = folder / "original/libtwin.so"
    neighbour = f"-Wl,--enable-new-dtags,-rpath,{folder / 'neighbours'}"
    place.compile(folder / "neighbours/libneighbour.so", NEIGHBOUR)
    if request.param == "llvm":
        target = ("-target", f"{place.zig}-linux-gnu.2.17", "-fno-sanitize=all")
        command = [sys.executable, "-m", "ziglang", "cc", *target, *LLVM]
        compile_source(path, command, SOURCE, neighbour, "-lunwind", "-ldl", language="c")
    else:
        place.compile(path, SOURCE, neighbour, "-fexceptions", "-static-libgcc", "-ldl")
    options = PackOptions(level=3, window_size=16384)
    return packed(path, folder / "packed", options)


def test_an_address_of_packed_code_belongs_to_its_library(
    place: Place, pair: Twins, tmp_path: Path
) -> None:
    assert all(is_paged(pair, name) for name in ("opens", "finds_next", "frames", "descend"))
    program = place.compile(tmp_path / "program", PROGRAM, "-pie", "-fPIE", "-ldl")
    ends = [
        f"{end}" for s in read_file(pair.original).loads for end in (s.vaddr, s.vaddr + s.memsz)
    ]
    expected = place.run(program, pair.original, *ends, library=pair.original)
    assert (expected.code, expected.err) == (0, "")
    assert "opens 1\nfinds next 1\nframes 1 41\n" in expected.out
    assert " none" not in expected.out
    assert place.run(program, pair.packed, *ends, library=pair.packed) == expected
