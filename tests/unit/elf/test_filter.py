"""The filters, against a plain reading of their definition (pager/format.h)."""

from __future__ import annotations

import random
import struct

import pytest

from layerpack.elf import filter as branches

_SSE = bytes([0x10, 0x11, 0x28, 0x29, 0x2E, 0x2F, 0x54, 0x57, 0x58, 0x59, 0x5C, 0x5E, 0x6F, 0x7F])


def _opcode(data: bytes, at: int) -> int:
    """The length of the opcode at `at` that a distance follows, 0 if there is none."""
    first, second, third = (*data[at : at + 3], 0, 0)[:3]
    if first in (0xE8, 0xE9):
        return 1
    if first in (0x89, 0x8B, 0x8D) and second & 0xC7 == 5:
        return 2
    if first == 0xFF and second in (0x15, 0x25, 0x35):
        return 2
    if first == 0x0F and second in _SSE and third & 0xC7 == 5:
        return 3
    return 0


def _plain(data: bytes, vaddr: int, bits: int, sign: int) -> bytes:
    """x86_64 as it is defined, a byte at a time."""
    out = bytearray(data)
    at = 0
    while at < len(data):
        length = _opcode(data, at)
        if not length or at + length + 4 > len(data):
            at += 1
            continue
        at += length + 4
        (value,) = struct.unpack_from("<i", data, at - 4)
        if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            value = (value + sign * (vaddr + at)) % (1 << bits)
            if value >= 1 << (bits - 1):
                value -= 1 << bits
            struct.pack_into("<i", out, at - 4, value)
    return bytes(out)


def _codelike(generator: random.Random, size: int) -> bytes:
    """Bytes with many opcodes that overlap, and distances that often fit."""
    alphabet = [0xE8, 0xE9, 0x89, 0x8B, 0x8D, 0xFF, 0x0F, 0x05, 0x15, 0x25, 0x10, 0x6F, 0, 0, 1]
    return bytes(generator.choice([*alphabet, generator.randrange(256)]) for _ in range(size))


@pytest.mark.parametrize("bits", [20, 24, 25, 29, 32])
def test_x86_64_is_what_is_defined(bits: int) -> None:
    generator = random.Random(bits)
    changed = 0
    for size in [*range(20), *([300] * 200)]:
        data = _codelike(generator, size)
        vaddr = generator.randrange(0, 1 << (bits - 1), 4096)
        encoded = branches.encode(data, vaddr, branches.X86_64, bits)
        assert encoded == _plain(data, vaddr, bits, 1)
        assert branches.decode(encoded, vaddr, branches.X86_64, bits) == data
        assert _plain(encoded, vaddr, bits, -1) == data
        changed += encoded != data
    assert changed > 100


def test_two_calls_of_one_function_become_alike() -> None:
    target, vaddr = 0x5000, 0x2000
    calls = b"".join(b"\xe8" + struct.pack("<i", target - vaddr - end) for end in (5, 10))
    encoded = branches.encode(calls, vaddr, branches.X86_64, 24)
    assert encoded == (b"\xe8" + struct.pack("<i", target)) * 2


def test_aarch64_branches_become_addresses_and_come_back() -> None:
    vaddr, target = 0x10000, 0x4000
    words = [0x94000000 | (((target - vaddr - at) >> 2) & 0x3FFFFFF) for at in (0, 4)]
    data = struct.pack("<4I", *words, 0xD65F03C0, 0x14000001) + b"\x94\x94"
    encoded = branches.encode(data, vaddr, branches.AARCH64, 0)
    assert struct.unpack_from("<4I", encoded) == (
        *(0x94000000 | target >> 2,) * 2,
        *(0xD65F03C0, 0x14000001),
    )
    assert branches.decode(encoded, vaddr, branches.AARCH64, 0) == data
    generator = random.Random(7)
    for _ in range(50):
        data = generator.randbytes(generator.randrange(2000))
        encoded = branches.encode(data, vaddr, branches.AARCH64, 0)
        assert branches.decode(encoded, vaddr, branches.AARCH64, 0) == data


@pytest.mark.parametrize(
    ("end", "bits"), [(0, 20), (1 << 19, 20), ((1 << 19) + 1, 21), (1 << 31, 32), (1 << 32, None)]
)
def test_width_covers_all_addresses(end: int, bits: int | None) -> None:
    assert branches.bits_for(end) == bits


def test_an_unknown_filter_is_an_error() -> None:
    assert branches.decode(b"\xe8abcd", 0, branches.NONE, 0) == b"\xe8abcd"
    with pytest.raises(ValueError, match="no filter 9"):
        branches.decode(b"", 0, 9, 20)
