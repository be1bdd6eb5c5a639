"""A way to throw dmlc::Error with a text, which the library has no function for.

MXNet's code expects that type: nnvm's C API catches no other, CachedOp and Imperative set right
with it what they had changed, and an exception that gets past them would end the process. The code
is laid into the room of a function that is left out, and ends with a jump: the unwinder sees no
frame of it, and the exception comes from whatever called the function that is missed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from layerpack.elf.code import Code
from layerpack.elf.drops import Dropped, Patch
from layerpack.operators.choose import UnsureError

_IMPORTS: Final = {
    "allocate": "__cxa_allocate_exception",
    "string": "_ZNSsC1EPKcRKSaIcE",
    "construct": "_ZNSt13runtime_errorC1ERKSs",
    "destroy": "_ZNSsD1Ev",
    "throw": "__cxa_throw",
}
_DEFINED: Final = {
    "table": "_ZTVN4dmlc5ErrorE",
    "type": "_ZTIN4dmlc5ErrorE",
    "destructor": "_ZN4dmlc5ErrorD1Ev",
}
#: What an object's first word points to, behind the start of its table of virtual functions.
_TABLE_HEADER: Final = 16
_ALIGNMENT: Final = 16

#: Machine code, and what each four bytes behind a piece are relative to. It gets the text in RDI,
#: with the stack as at a function's start (System V ABI for x86-64; Itanium C++ ABI, 2.4).
_X86_64: Final[tuple[tuple[bytes, str], ...]] = (
    # push rbx; sub rsp, 16; mov rbx, rdi; mov edi, 16 (an Error's size); call
    (b"\x53\x48\x83\xec\x10\x48\x89\xfb\xbf\x10\x00\x00\x00\xe8", "allocate"),
    # xchg rax, rbx; mov rsi, rax; mov rdi, rsp; lea rdx, [rsp + 8] (an allocator); call
    (b"\x48\x93\x48\x89\xc6\x48\x89\xe7\x48\x8d\x54\x24\x08\xe8", "string"),
    # mov rdi, rbx; mov rsi, rsp; call
    (b"\x48\x89\xdf\x48\x89\xe6\xe8", "construct"),
    # mov rdi, rsp; call
    (b"\x48\x89\xe7\xe8", "destroy"),
    # lea rax, [rip + ...]
    (b"\x48\x8d\x05", "table"),
    # mov [rbx], rax; mov rdi, rbx; lea rsi, [rip + ...]
    (b"\x48\x89\x03\x48\x89\xdf\x48\x8d\x35", "type"),
    # lea rdx, [rip + ...]
    (b"\x48\x8d\x15", "destructor"),
    # add rsp, 16; pop rbx; jmp
    (b"\x48\x83\xc4\x10\x5b\xe9", "throw"),
)
_SIZE: Final = sum(len(code) + 4 for code, _ in _X86_64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thrower:
    """The code at `vaddr`, and `dropped` without its room."""

    vaddr: int
    patch: Patch
    dropped: tuple[Dropped, ...]


def thrower(code: Code, dropped: Iterable[Dropped]) -> Thrower:
    """Lay the code into the end of what is dropped first and has the room.

    Raises UnsureError where the library lacks what it takes.
    """
    if code.source.machine != "x86_64":
        raise UnsureError(f"how its errors are thrown on {code.source.machine} is not known")
    addresses = _addresses(code)
    pieces = list(dropped)
    for number, one in enumerate(pieces):
        vaddr = (one.end - _SIZE) & -_ALIGNMENT
        # Its start must stay one of dropped code.
        if vaddr > one.start:
            pieces[number] = replace(one, end=vaddr)
            patch = Patch(vaddr=vaddr, data=_code(vaddr, addresses))
            return Thrower(vaddr=vaddr, patch=patch, dropped=tuple(pieces))
    raise UnsureError("nothing is left out that has room for a way to throw an exception")


def _addresses(code: Code) -> Mapping[str, int]:
    found = {key: code.stub_of(name) for key, name in _IMPORTS.items()}
    found |= {key: code.addresses.get(name, 0) for key, name in _DEFINED.items()}
    if missing := sorted(key for key, address in found.items() if not address):
        raise UnsureError(f"it has no way to throw an exception ({', '.join(missing)})")
    return found | {"table": found["table"] + _TABLE_HEADER}


def _code(vaddr: int, addresses: Mapping[str, int]) -> bytes:
    made = b""
    for piece, target in _X86_64:
        made += piece
        made += struct.pack("<i", addresses[target] - (vaddr + len(made) + 4))
    return made
