"""Drops, applied to a library as the packer does, but in place: nothing is compressed or paged."""

from __future__ import annotations

from pathlib import Path

from layerpack.elf.drops import Drops
from layerpack.elf.read import read_file


def apply(library: Path, drops: Drops, target: Path) -> Path:
    """Write `library` without what is dropped to `target`: touching that ends the process."""
    loads = read_file(library).loads
    data = bytearray(library.read_bytes())
    gone = [(one.start, b"\xf4" * (one.end - one.start)) for one in drops.dropped]
    for vaddr, written in (*gone, *((one.vaddr, one.data) for one in drops.patches)):
        load = next(one for one in loads if one.holds(vaddr, len(written)))
        at = load.offset + vaddr - load.vaddr
        data[at : at + len(written)] = written
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o755)
    return target
