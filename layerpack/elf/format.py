"""The ELF structures that layerpack reads and writes: 64-bit, little-endian.

Names and values are those of the System V ABI ("gABI", chapters 4 and 5), its GNU extensions as
in glibc's elf.h, and the Linux Standard Base ("Symbol Versioning").
"""

from __future__ import annotations

import struct
from typing import Final

MAGIC: Final = b"\x7fELF"
ELFCLASS64: Final = 2
ELFDATA2LSB: Final = 1

#: e_ident, then type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum,
#: shentsize, shnum, shstrndx.
HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
#: type, flags, offset, vaddr, paddr, filesz, memsz, align.
PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
#: name, type, flags, addr, offset, size, link, info, addralign, entsize.
SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
#: tag, value.
DYNAMIC: Final = struct.Struct("<qQ")
#: Verneed: version, count, file, first auxiliary entry, next.
VERNEED: Final = struct.Struct("<HHIII")
#: Vernaux: hash, flags, index, name, next.
VERNAUX: Final = struct.Struct("<IHHII")
#: Verdef: version, flags, index, count, hash, first auxiliary entry, next.
VERDEF: Final = struct.Struct("<HHHHIII")
#: Verdaux: name, next.
VERDAUX: Final = struct.Struct("<II")

ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_X86_64: Final = 62
EM_AARCH64: Final = 183
MACHINES: Final = {EM_X86_64: "x86_64", EM_AARCH64: "aarch64"}
#: More program headers than e_phnum can say.
PN_XNUM: Final = 0xFFFF

PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2

SHT_NULL: Final = 0
SHT_STRTAB: Final = 3
SHT_NOBITS: Final = 8
SHF_ALLOC: Final = 2
SHF_INFO_LINK: Final = 0x40

DT_NULL: Final = 0
DT_NEEDED: Final = 1
DT_STRTAB: Final = 5
DT_SONAME: Final = 14
DT_RPATH: Final = 15
DT_TEXTREL: Final = 22
DT_RUNPATH: Final = 29
DT_FLAGS: Final = 30
DT_VERDEF: Final = 0x6FFFFFFC
DT_VERDEFNUM: Final = 0x6FFFFFFD
DT_VERNEED: Final = 0x6FFFFFFE
DT_VERNEEDNUM: Final = 0x6FFFFFFF
DF_TEXTREL: Final = 4
#: A version definition that names the library itself, not a version.
VER_FLG_BASE: Final = 1


class ElfError(ValueError):
    """A file is not an ELF file that layerpack reads, or is malformed; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
