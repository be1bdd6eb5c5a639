"""A tree of packages, and its twin with packed libraries: the same files else, to be compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from layerpack.elf import is_elf, read_file
from layerpack.manifest import PagedRecord
from layerpack.passes.api import PassContext, Rewrite
from layerpack.passes.paged import Paged
from layerpack.passes.runner import applied
from layerpack.payload import PYTHON as SITE
from layerpack.payload import Payload, entries_of
from layerpack.processor_levels import Level
from tests.support.recipes import load

#: The interpreter itself: one of a virtual environment would find that one's packages.
PYTHON: Final = Path(getattr(sys, "_base_executable", sys.executable))


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What became of the library at `path` in the tree; `reason` says why it was left alone, and
    `record` has the figures of one that was packed."""

    path: str
    original_bytes: int
    packed_bytes: int
    reason: str | None
    record: PagedRecord | None


def install(target: Path, requirements: Iterable[str], *, python: str | None = None) -> Path:
    """Wheels of the requirements, and of what they require, installed into the folder `target`.

    `python` is another version (`3.9`) than that of `PYTHON`.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--no-compile", "--target", str(target)]
    if python is not None:
        command += ["--python-version", python]
    subprocess.run([*command, *requirements], check=True, timeout=900)
    return target


def packed_twin(
    plain: Path,
    twin: Path,
    *,
    level: int = 3,
    cpu: Sequence[Level] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> list[Packed]:
    """Make the tree `twin`: that of `plain` as a build would pack it, but for zstd's level.

    That is a fast one unless told: it changes no byte of what is paged in. `cpu` are the levels of
    the processor that kernels stay for, all where there are none; `warn` gets the pass's warnings.
    `twin` is a link to the folder of the distributions within the layers, whose `lib/` is beside.
    """
    entries = entries_of(plain, SITE, "tree")
    payload = Payload(entries)
    machine = next(read_file(entry.source).machine for entry in entries if is_elf(entry.source))
    architecture = "arm64" if machine == "aarch64" else "x86_64"
    more = f"architecture: {architecture}\nnative: {{store: paged, level: {level}}}\n"
    if cpu:
        more += f"cpu: {{{architecture}: [{', '.join(cpu)}]}}\n"
    with TemporaryDirectory(prefix="layerpack-twin-", dir=twin.parent) as scratch:
        recipe = load(Path(scratch), more=more)
        context = PassContext(
            recipe=recipe,
            profile=recipe.profile,
            cache=Path(scratch) / "cache",
            room=0,
            warn=warn,
        )
        edits = list(Paged().plan(payload, context))
        after = applied(payload, edits)
        layers = twin.with_name(f"{twin.name}.layers")
        after.materialise(layers)
        for entry in after:
            # Bytecode is of its source's time: else imports would be slower in the twin alone.
            times = entry.source.stat()
            os.utime(layers / entry.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    twin.symlink_to(layers / SITE, target_is_directory=True)
    packed = {e.path: e.paged for e in edits if isinstance(e, Rewrite) and e.paged is not None}
    return [
        Packed(
            path=edit.path.removeprefix(f"{SITE}/"),
            original_bytes=payload[edit.path].size,
            packed_bytes=after[edit.path].size,
            reason=None if edit.path in packed else edit.reason,
            record=packed.get(edit.path),
        )
        for edit in edits
        if edit.path in payload
    ]
