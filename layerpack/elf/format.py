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
#: Sym: name, info, other, section index, value, size.
SYMBOL: Final = struct.Struct("<IBBHQQ")
#: Rela: offset, info (symbol << 32 | type), addend.
RELA: Final = struct.Struct("<QQq")

ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_X86_64: Final = 62
EM_AARCH64: Final = 183
MACHINES: Final = {EM_X86_64: "x86_64", EM_AARCH64: "aarch64"}
#: More program headers than e_phnum can say.
PN_XNUM: Final = 0xFFFF

PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
PT_INTERP: Final = 3
PT_PHDR: Final = 6
PT_GNU_EH_FRAME: Final = 0x6474E550
PT_GNU_STACK: Final = 0x6474E551
#: Ours, among those that the gABI leaves to operating systems: the index of a packed library.
PT_LAYERPACK: Final = 0x6C706167
PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

SHT_NULL: Final = 0
SHT_PROGBITS: Final = 1
SHT_STRTAB: Final = 3
SHT_NOBITS: Final = 8
SHF_WRITE: Final = 1
SHF_ALLOC: Final = 2
SHF_EXECINSTR: Final = 4
SHF_INFO_LINK: Final = 0x40

DT_NULL: Final = 0
DT_NEEDED: Final = 1
DT_PLTRELSZ: Final = 2
DT_HASH: Final = 4
DT_STRTAB: Final = 5
DT_SYMTAB: Final = 6
DT_RELA: Final = 7
DT_RELASZ: Final = 8
DT_STRSZ: Final = 10
DT_INIT: Final = 12
DT_FINI: Final = 13
DT_SONAME: Final = 14
DT_RPATH: Final = 15
DT_TEXTREL: Final = 22
DT_JMPREL: Final = 23
DT_INIT_ARRAY: Final = 25
DT_FINI_ARRAY: Final = 26
DT_INIT_ARRAYSZ: Final = 27
DT_FINI_ARRAYSZ: Final = 28
DT_RUNPATH: Final = 29
DT_FLAGS: Final = 30
DT_RELRSZ: Final = 35
DT_RELR: Final = 36
DT_GNU_HASH: Final = 0x6FFFFEF5
DT_VERSYM: Final = 0x6FFFFFF0
DT_FLAGS_1: Final = 0x6FFFFFFB
DT_VERDEF: Final = 0x6FFFFFFC
DT_VERDEFNUM: Final = 0x6FFFFFFD
DT_VERNEED: Final = 0x6FFFFFFE
DT_VERNEEDNUM: Final = 0x6FFFFFFF
DF_TEXTREL: Final = 4
DF_1_NODELETE: Final = 0x8
DF_1_INITFIRST: Final = 0x20
DF_1_PIE: Final = 0x08000000
#: A version definition that names the library itself, not a version.
VER_FLG_BASE: Final = 1
#: A symbol without a version of its own.
VER_NDX_GLOBAL: Final = 1
SHN_UNDEF: Final = 0
STT_NOTYPE: Final = 0
STT_FUNC: Final = 2
STT_GNU_IFUNC: Final = 10
#: Relocations that call a function of the library's to learn an address, by e_machine.
IRELATIVE: Final = {EM_X86_64: 37, EM_AARCH64: 1032}
#: Relocations by which a program takes data from a library before anything runs.
COPY: Final = {EM_X86_64: 5, EM_AARCH64: 1024}
JUMP_SLOT: Final = {EM_X86_64: 7, EM_AARCH64: 1026}


class ElfError(ValueError):
    """A file is not an ELF file that layerpack reads, or is malformed; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
