"""Read-only data that is stored compressed, and decompressed when the library is loaded.

A system call that is given a pointer into an absent page returns EFAULT, with no fault that the
pager could answer. So data is not paged as code is: all of it is there before any code of the
library runs. The library's DT_INIT is the *starter*, a few instructions that read a byte of it, and
then go on to the original one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import zstandard

from layerpack.elf import format as elf
from layerpack.elf.dynamic import Dynamic, Image, read_dynamic
from layerpack.elf.extents import without
from layerpack.elf.index import PAGE, Block, Range
from layerpack.elf.ranges import UNWINDING, validated, whole_pages
from layerpack.elf.read import SharedObject, map_file, read

#: In pages; the most that the pager has a reserve for (pager/fresh.c). In libllvmlite, 62.0 MB
#: become 7.5 MB; with 4 MB at a time 7.3 MB, in twice the time.
_BLOCK: Final = 256
#: Less is not worth a segment of its own, and what each start then takes.
_LEAST: Final = 16
#: What a starter's instructions reach, with all that is put behind the library.
_FURTHEST: Final = 1 << 30
#: For an estimate.
_FAST: Final = 1


def data_problem(source: SharedObject, dynamic: Dynamic) -> str | None:
    """Why a library's data stays as it is, None if it can be compressed."""
    if dynamic.calls_early:
        # IFUNC resolvers, which may read data.
        return "its code runs before the pager does"
    if not source.sections:
        return "it has no sections, which alone tell data from tables"
    if source.loads[-1].vaddr + source.loads[-1].memsz > _FURTHEST:
        return "it is too large"
    return None


def data_ranges(
    view: memoryview, source: SharedObject, dynamic: Dynamic, taken: tuple[Range, ...] = ()
) -> tuple[Range, ...]:
    """The pages of a library, ascending, that hold nothing but read-only data which neither the
    loader nor an unwinder reads; `taken` are left out. None where they cannot be told.

    Those that sections name are clipped as code's are, so that a wrong section table changes no
    byte that anything sees.
    """
    if data_problem(source, dynamic) is not None:
        return ()
    proposed = []
    for section in source.sections:
        refused = section.flags & (elf.SHF_WRITE | elf.SHF_EXECINSTR) or section.name in UNWINDING
        if section.type != elf.SHT_PROGBITS or not section.flags & elf.SHF_ALLOC or refused:
            continue
        load = next((one for one in source.loads if one.holds(section.addr, section.size)), None)
        if load is not None and section.size:
            # Code may lie there where the segment allows it, whatever the section says.
            proposed.append((section.addr, section.addr + section.size, load.flags))
    found = validated(source, dynamic, whole_pages(proposed))
    holes = [(one.vaddr, one.end) for one in taken]
    left = tuple(
        Range(vaddr=start, pages=(end - start) // PAGE, flags=one.flags)
        for one in found
        for start, end in without(holes, one.vaddr, one.end)
    )
    return left if sum(one.pages for one in left) >= _LEAST else ()


def data_gain(path: Path) -> int:
    """About how many bytes a library becomes smaller by if its data is compressed, 0 for none.

    Raises ElfError for a file that cannot be read, and OSError.
    """
    view = map_file(path)
    source = read(view)
    ranges = data_ranges(view, source, read_dynamic(view, source))
    blocks, _ = compress_data(Image(view, source.loads), ranges, level=_FAST, threads=1)
    return sum(one.pages * PAGE - one.size for one in blocks)


def compress_data(
    image: Image, ranges: tuple[Range, ...], *, level: int, threads: int
) -> tuple[tuple[Block, ...], tuple[bytes, ...]]:
    """The blocks of some ranges, and their frames, whose offsets count from the first."""
    cuts = list(_cut(ranges))

    def work(one: Range) -> bytes:
        data = bytes(image.bytes_at(one.vaddr, one.pages * PAGE))
        return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)

    blocks: list[Block] = []
    end = 0
    with ThreadPoolExecutor(max_workers=threads) as pool:
        frames = tuple(pool.map(work, cuts))
    for one, frame in zip(cuts, frames, strict=True):
        blocks.append(
            Block(vaddr=one.vaddr, pages=one.pages, flags=one.flags, offset=end, size=len(frame))
        )
        end += len(frame)
    return tuple(blocks), frames


def extents(blocks: tuple[Block, ...]) -> Iterator[Range]:
    """The ranges that blocks fill, as long as can be."""
    last: Range | None = None
    for block in blocks:
        if last is not None and (block.vaddr, block.flags) == (last.end, last.flags):
            last = replace(last, pages=last.pages + block.pages)
            continue
        if last is not None:
            yield last
        last = Range(vaddr=block.vaddr, pages=block.pages, flags=block.flags)
    if last is not None:
        yield last


def _cut(ranges: tuple[Range, ...]) -> Iterator[Range]:
    for one in ranges:
        for page in range(0, one.pages, _BLOCK):
            pages = min(_BLOCK, one.pages - page)
            yield Range(vaddr=one.vaddr + page * PAGE, pages=pages, flags=one.flags)


def starter(machine: str, at: int, touched: int, then: int | None) -> bytes:
    """The code of a starter at address `at`, which reads the byte at `touched`, the start of a
    page, and goes on to `then`; it returns if that is None. It changes no register that a function
    must leave alone, and none of its arguments.
    """
    if machine == "x86_64":
        # endbr64; cmpb $0, touched(%rip)
        code = b"\xf3\x0f\x1e\xfa\x80\x3d" + struct.pack("<iB", touched - (at + 11), 0)
        if then is None:
            return code + b"\xc3"
        return code + b"\xe9" + struct.pack("<i", then - (at + len(code) + 5))
    # bti c; adrp x16, touched; ldrb w16, [x16]
    words = [0xD503245F, _adrp(16, at + 4, touched), 0x39400210]
    if then is None:
        words.append(0xD65F03C0)  # ret
    else:
        # adrp x17, then; add x17, x17, #(then % 4096); br x17
        words += [_adrp(17, at + 12, then), 0x91000231 | then % PAGE << 10, 0xD61F0220]
    return struct.pack(f"<{len(words)}I", *words)


def _adrp(register: int, at: int, target: int) -> int:
    """ADRP (Arm ARM, C6.2): the target's page, as a distance of 21 bits in pages."""
    pages = target // PAGE - at // PAGE & 0x1FFFFF
    return 0x90000000 | (pages & 3) << 29 | pages >> 2 << 5 | register
