"""C code of read-only data that is worth compressing."""

from __future__ import annotations

import random


def noise(rows: int = 600, *, seed: int = 5) -> str:
    """The array `noise`: rows of 1 kB, of which each comes many times."""
    numbers = random.Random(seed)
    kinds = [", ".join(str(numbers.randrange(256)) for _ in range(1024)) for _ in range(20)]
    lines = ",\n".join(f"{{{numbers.choice(kinds)}}}" for _ in range(rows))
    return f"\nstatic const unsigned char noise[{rows}][1024] = {{{lines}}};\n"
