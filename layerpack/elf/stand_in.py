"""A library of 500 bytes that loads another one: what a symbolic link would be, as zips have none.

Who opens it by any name gets the other library: dlsym(3) on a handle searches what the handle's
library needs, so functions, data and the PyInit functions of Python's extension modules are found.

DT_NEEDED names the file by path (`$ORIGIN/libx.so.1`, which glibc expands, elf/dl-deps.c), not by
its soname: another library with that soname, loaded before, is not taken for it, and a process
that opens both names has one copy of the library's data.
"""

from __future__ import annotations

from typing import Final, Literal

from layerpack.elf import format as elf
from layerpack.elf.hashing import sysv_hash_table
from layerpack.elf.tables import DT_SYMENT

#: Part of the cache's keys; raise it when other bytes come out.
STAND_IN_VERSION: Final = 1
#: The largest pages of both machines' kernels; one segment at address 0 fits any.
_ALIGN: Final = 0x10000
_HEADERS: Final = 3
_EV_CURRENT: Final = 1


def stand_in(machine: Literal["x86_64", "aarch64"], other: str) -> bytes:
    """A library for `machine` that needs the file called `other` in its own folder.

    It has no soname: a library that needs `other`'s soname never gets this one.
    """
    strings = b"\0$ORIGIN/" + other.encode() + b"\0"
    hashes = sysv_hash_table([b""], 1)
    symbols = bytes(elf.SYMBOL.size)
    start = elf.HEADER.size + _HEADERS * elf.PROGRAM_HEADER.size
    dynamic_at = start + len(symbols) + len(hashes)
    strings_at = dynamic_at + 7 * elf.DYNAMIC.size
    dynamic = b"".join(
        elf.DYNAMIC.pack(tag, value)
        for tag, value in (
            (elf.DT_NEEDED, 1),
            (elf.DT_HASH, start + len(symbols)),
            (elf.DT_STRTAB, strings_at),
            (elf.DT_SYMTAB, start),
            (elf.DT_STRSZ, len(strings)),
            (DT_SYMENT, elf.SYMBOL.size),
            (elf.DT_NULL, 0),
        )
    )
    size = strings_at + len(strings)
    # Writable, as glibc before 2.35 stores addresses in the dynamic section. Without PT_GNU_STACK
    # the loader would make stacks executable.
    flags = elf.PF_R | elf.PF_W
    headers = (
        (elf.PT_LOAD, flags, 0, 0, 0, size, size, _ALIGN),
        (elf.PT_DYNAMIC, flags, *3 * (dynamic_at,), len(dynamic), len(dynamic), 8),
        (elf.PT_GNU_STACK, flags, 0, 0, 0, 0, 0, 16),
    )
    identity = elf.MAGIC + bytes([elf.ELFCLASS64, elf.ELFDATA2LSB, _EV_CURRENT])
    number = next(number for number, name in elf.MACHINES.items() if name == machine)
    header = elf.HEADER.pack(
        identity,
        *(elf.ET_DYN, number, _EV_CURRENT),
        *(0, elf.HEADER.size, 0, 0),
        *(elf.HEADER.size, elf.PROGRAM_HEADER.size, _HEADERS),
        *(elf.SECTION_HEADER.size, 0, 0),
    )
    table = b"".join(elf.PROGRAM_HEADER.pack(*fields) for fields in headers)
    return header + table + symbols + hashes + dynamic + strings
