"""What a piece of code refers to: the addresses that it calls, jumps to, reads or takes.

Every instruction is decoded, and its PC-relative operands are reported. Addresses that code
computes in another way are not; a compiler's position-independent code has only jump tables of
that kind, which are read from the data that it takes the address of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

#: Kinds of references.
CALL: Final = 1
ADDRESS: Final = 0
#: Read or written there, and nowhere behind it.
ACCESS: Final = 2

#: An address, and what is done with it.
Reference = tuple[int, int]


def reader_for(machine: str) -> Callable[[bytes, int], Iterator[Reference]]:
    """What reads references for a machine: (code, its address) -> references, repeated ones too."""
    return _x86_64 if machine == "x86_64" else _aarch64


def goes_on(machine: str, code: bytes) -> bool | None:
    """Whether the end of a piece of code is run into what follows it.

    None where there is nothing but what fills the place up to the next function.
    """
    return _goes_on_x86_64(code) if machine == "x86_64" else _goes_on_aarch64(code)


def _x86_64(code: bytes, vaddr: int) -> Iterator[Reference]:
    # Imported here: a build that drops nothing does without.
    from iced_x86 import Decoder, Mnemonic, OpKind  # noqa: PLC0415

    near, lea = OpKind.NEAR_BRANCH64, Mnemonic.LEA
    for one in Decoder(64, code, ip=vaddr):
        if one.is_ip_rel_memory_operand:
            yield one.ip_rel_memory_address, ADDRESS if one.mnemonic == lea else ACCESS
        elif one.op0_kind == near:
            yield one.near_branch_target, CALL


def _goes_on_x86_64(code: bytes) -> bool | None:
    from iced_x86 import Decoder, FlowControl, Mnemonic  # noqa: PLC0415

    ends = {
        FlowControl.RETURN,
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.INDIRECT_BRANCH,
        FlowControl.EXCEPTION,
    }
    goes = None
    for one in Decoder(64, code):
        if one.mnemonic not in (Mnemonic.NOP, Mnemonic.INT3):
            goes = one.flow_control not in ends
    return goes


def _goes_on_aarch64(code: bytes) -> bool | None:
    goes = None
    for word in memoryview(code[: len(code) & ~3]).cast("I"):
        if word not in (0xD503201F, 0):  # NOP, and what is no instruction
            # B, BR and RET, BRK; other branches return or may not be taken.
            goes = not (
                word & 0xFC000000 == 0x14000000
                or word & 0xFF9FFC1F == 0xD61F0000
                or word & 0xFFE0001F == 0xD4200000
            )
    return goes


def _aarch64(code: bytes, vaddr: int) -> Iterator[Reference]:
    """By the Arm ARM, C4.1: branches, ADR and ADRP, and what follows an ADRP with its register."""
    words = memoryview(code[: len(code) & ~3]).cast("I")
    pages: dict[int, int] = {}
    for number, word in enumerate(words):
        at = vaddr + 4 * number
        if word & 0x7C000000 == 0x14000000:  # B, BL
            yield at + 4 * _signed(word, 26), CALL
        elif word & 0xFF000010 == 0x54000000 or word & 0x7E000000 == 0x34000000:  # B.cond, CBZ
            yield at + 4 * _signed(word >> 5, 19), CALL
        elif word & 0x7E000000 == 0x36000000:  # TBZ, TBNZ
            yield at + 4 * _signed(word >> 5, 14), CALL
        elif word & 0x1F000000 == 0x10000000:  # ADR, ADRP
            distance = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
            if word >> 31:
                # No reference by itself: what follows tells which part of the page is meant.
                pages[word & 31] = (at & ~0xFFF) + (distance << 12)
            else:
                yield at + distance, ADDRESS
        elif word & 0x3B000000 == 0x18000000:  # LDR (literal)
            yield at + 4 * _signed(word >> 5, 19), ACCESS
        elif word & 0x7F800000 == 0x11000000 and word >> 5 & 31 in pages:  # ADD, 12 bits
            shift = 12 if word >> 22 & 1 else 0
            yield pages[word >> 5 & 31] + ((word >> 10 & 0xFFF) << shift), ADDRESS
        elif word & 0x3B000000 == 0x39000000 and word >> 5 & 31 in pages:  # LDR and STR, 12 bits
            size = word >> 30 | (word >> 21 & 4 if word >> 26 & 1 else 0)
            yield pages[word >> 5 & 31] + ((word >> 10 & 0xFFF) << size), ACCESS


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
