"""Hash tables of dynamic symbols: DT_GNU_HASH and DT_HASH.

The gABI (chapter 5, "Hash Table") describes DT_HASH. DT_GNU_HASH is described by its first
implementations only: binutils' bfd/elflink.c and glibc's elf/dl-lookup.c.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

#: Bucket counts that ld chooses among (bfd/elflink.c, elf_buckets): chains of 1 to 2 symbols.
_BUCKETS: Final = (
    *(1, 3, 17, 37, 67, 97, 131, 197, 263, 521, 1031, 2053, 4099, 8209, 16411, 32771),
    *(65537, 131101, 262147),
)
_WORD_BITS: Final = 64


def gnu_hash(name: bytes) -> int:
    """The hash of DT_GNU_HASH (Bernstein's, with 33), 32 bits."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def sysv_hash(name: bytes) -> int:
    """The hash of DT_HASH, 28 bits."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def bucket_count(symbols: int) -> int:
    """How many buckets a table of so many symbols gets."""
    return _BUCKETS[max(bisect_right(_BUCKETS, symbols) - 1, 0)]


def gnu_hash_table(hashes: Sequence[int], first: int) -> bytes:
    """DT_GNU_HASH for symbols that are sorted by `hash % bucket_count(len(hashes))`.

    `hashes` belong to the symbols `first` and on, which end the symbol table.
    """
    if not hashes:
        # One empty bucket behind a filter that nothing passes, as ld writes it.
        return struct.pack("<IIIIQI", 1, first, 1, 0, 0, 0)
    buckets = bucket_count(len(hashes))
    words, shift = _bloom_size(len(hashes))
    bloom = [0] * words
    heads = [0] * buckets
    chain: list[int] = []
    previous = -1
    for index, value in enumerate(hashes):
        bits = 1 << value % _WORD_BITS | 1 << (value >> shift) % _WORD_BITS
        bloom[value // _WORD_BITS % words] |= bits
        bucket = value % buckets
        if bucket != previous:
            heads[bucket] = first + index
            if chain:
                chain[-1] |= 1
        previous = bucket
        chain.append(value & ~1)
    chain[-1] |= 1
    return b"".join(
        [
            struct.pack("<IIII", buckets, first, words, shift),
            struct.pack(f"<{words}Q", *bloom),
            struct.pack(f"<{buckets}I", *heads),
            struct.pack(f"<{len(chain)}I", *chain),
        ]
    )


def sysv_hash_table(names: Sequence[bytes], first: int) -> bytes:
    """DT_HASH for a symbol table with these names, whose symbols from `first` on are global."""
    buckets = bucket_count(len(names) - first)
    heads = [0] * buckets
    chain = [0] * len(names)
    for index in range(len(names) - 1, first - 1, -1):
        bucket = sysv_hash(names[index]) % buckets
        chain[index], heads[bucket] = heads[bucket], index
    return struct.pack(f"<{2 + buckets + len(names)}I", buckets, len(names), *heads, *chain)


def _bloom_size(symbols: int) -> tuple[int, int]:
    """The words of the Bloom filter and its second shift: 8 to 11 bits for each symbol."""
    log = symbols.bit_length() + 2
    if symbols.bit_length() > 1 and symbols >> symbols.bit_length() - 2 & 1:
        log += 1
    log = max(log, 6)
    return 1 << log - 6, log
