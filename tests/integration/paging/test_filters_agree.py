"""The pager undoes what the packer's filter does: in C and in Python, for whatever bytes.

The pager's own source is compiled into a program that undoes the filter on the pieces in a file.
It runs for each of both machines, the other one emulated.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerpack.elf import filter as branches
from layerpack.elf import pager
from tests.support.roots import emulated_aarch64
from tests.support.twins import Run, compile_program, run

FILTER = Path(pager.__file__).with_name("filter.c")
#: Reads pieces, each behind its size, address, filter and bits; writes their bytes alone. They lie
#: between pages without rights, so that bytes before or behind them cannot be read unnoticed.
PROGRAM = f"""
#include "{FILTER}"
#include <stdio.h>
#include <sys/mman.h>
struct head {{ uint64_t size, vaddr, filter, bits, at_end; }};
int main(int argc, char **argv) {{
    struct head head;
    FILE *in = fopen(argv[argc - 2], "rb"), *out = fopen(argv[argc - 1], "wb");
    if (in == NULL || out == NULL) return 2;
    while (fread(&head, sizeof head, 1, in) == 1) {{
        struct lp_index index = {{.filter = head.filter, .filter_bits = head.bits}};
        size_t room = (head.size + LP_PAGE) / LP_PAGE * LP_PAGE;
        uint8_t *pages = mmap(NULL, room + 2 * LP_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                              -1, 0);
        if (pages == MAP_FAILED) return 3;
        mprotect(pages + LP_PAGE, room, PROT_READ | PROT_WRITE);
        uint8_t *data = pages + LP_PAGE + (head.at_end ? room - head.size : 0);
        if (fread(data, 1, head.size, in) != head.size) return 4;
        lp_unfilter(&index, data, head.size, head.vaddr);
        if (fwrite(data, 1, head.size, out) != head.size) return 5;
        munmap(pages, room + 2 * LP_PAGE);
    }}
    return fclose(out) != 0;
}}
"""
#: Bytes of which opcodes with a distance behind them begin, go on, or nearly do.
TELLING = bytes.fromhex("e8 e9 89 8b 8d ff 0f 05 0d 15 25 35 3d 10 28 6f 7f 94 95 97 98 93 00 ff")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Bytes at an address, and the filter's width."""

    data: bytes
    vaddr: int
    bits: int


def pieces(seed: int) -> list[Piece]:
    """Random bytes of short and of long pieces: of all values, of telling ones, and of both."""
    numbers = random.Random(seed)
    both = TELLING * 8 + bytes(range(256))
    found = []
    for size in [*range(80), *(numbers.randrange(80, 5000) for _ in range(300)), 4096, 65536]:
        alphabet = numbers.choice([bytes(range(256)), TELLING, both])
        end = numbers.choice([1 << 19, 1 << 24, 1 << 31])
        found.append(
            Piece(
                data=bytes(numbers.choices(alphabet, k=size)),
                # Past what the width is for, too, where sums wrap around.
                vaddr=numbers.randrange(0, end, numbers.choice([4, 4096])),
                bits=numbers.choice([2, 20, 21, 24, 25, 29, 31, 32]),
            )
        )
    return found


def undone_by(
    program: Callable[[Path, Path], Run], kind: int, given: list[Piece], folder: Path, at_end: int
) -> list[bytes]:
    """The pieces as the pager's C leaves them."""
    before, after = folder / "before", folder / "after"
    with before.open("wb") as file:
        for one in given:
            head = struct.pack("<5Q", len(one.data), one.vaddr, kind, one.bits, at_end)
            file.write(head + one.data)
    assert program(before, after) == Run(code=0, out="", err="")
    whole = after.read_bytes()
    found, at = [], 0
    for one in given:
        found.append(whole[at : at + len(one.data)])
        at += len(one.data)
    assert at == len(whole)
    return found


def check(program: Callable[[Path, Path], Run], kind: int, folder: Path) -> None:
    """Any bytes are undone as in Python; and what the packer made of them becomes them again."""
    for seed, at_end in ((1, 0), (2, 1)):
        given = pieces(seed)
        undone = undone_by(program, kind, given, folder, at_end)
        expected = [branches.decode(one.data, one.vaddr, kind, one.bits) for one in given]
        assert undone == expected
        assert sum(one.data != other for one, other in zip(given, undone, strict=True)) > 150
        made = [
            Piece(
                data=branches.encode(one.data, one.vaddr, kind, one.bits),
                vaddr=one.vaddr,
                bits=one.bits,
            )
            for one in given
        ]
        assert undone_by(program, kind, made, folder, at_end) == [one.data for one in given]
        assert undone_by(program, branches.NONE, given, folder, at_end) == [
            one.data for one in given
        ]


def test_x86_64(tmp_path: Path) -> None:
    program = compile_program(tmp_path / "filter", PROGRAM)
    check(
        lambda before, after: run(program, before, after, library=program),
        branches.X86_64,
        tmp_path,
    )


@pytest.mark.roots
def test_aarch64(tmp_path: Path) -> None:
    emulated = emulated_aarch64()
    program = emulated.compile(tmp_path / "filter", PROGRAM, "-pie")
    check(
        lambda before, after: emulated.run(program, before, after, library=program),
        branches.AARCH64,
        tmp_path,
    )
