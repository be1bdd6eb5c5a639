"""A tree of packages, and its twin with packed libraries: the same files else, to be compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from layerpack.elf import (
    ElfError,
    PackOptions,
    PackResult,
    Refusal,
    is_elf,
    pack,
    pageable_ranges,
    read_file,
)
from layerpack.elf.diet import DietOptions, diet
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.elf.tables import undefined_and_defined_names
from layerpack.units import sorted_walk

#: The interpreter itself: one of a virtual environment would find that one's packages.
PYTHON: Final = Path(getattr(sys, "_base_executable", sys.executable))
#: Where the pager lies in a packed tree; libraries find it by the path that they carry.
_PAGER_FOLDER: Final = "lib"
_MANGLED: Final = re.compile(rb"\b_[ZR]\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What became of the library at `path` in the tree; `reason` says why it was left alone."""

    path: str
    original_bytes: int
    packed_bytes: int
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    source: Path
    destination: Path
    options: PackOptions
    keep: frozenset[str] | None


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
    plain: Path, twin: Path, *, level: int = 3, bind: bool = True, window_size: int = 65536
) -> list[Packed]:
    """Make the tree `twin`: that of `plain` with each library packed that can be, and the pager.

    With `bind` the libraries go through the metadata diet before. Other files are links to the
    same, so nothing may write into them.
    """
    shutil.copytree(plain, twin, copy_function=os.link)
    machine, jobs = _jobs(plain, twin, level=level, bind=bind, window_size=window_size)
    folder = twin / _PAGER_FOLDER
    folder.mkdir(exist_ok=True)
    shutil.copy2(pager_file(machine), folder / PAGER_SONAME)
    # Not forked: the process of a test may have threads.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_pack, jobs))
    return [
        Packed(
            path=job.source.relative_to(plain).as_posix(),
            original_bytes=job.source.stat().st_size,
            packed_bytes=job.destination.stat().st_size,
            reason=result.reason if isinstance(result, Refusal) else None,
        )
        for job, result in zip(jobs, results, strict=True)
    ]


def _jobs(
    plain: Path, twin: Path, *, level: int, bind: bool, window_size: int
) -> tuple[str, list[_Job]]:
    """The machine that the tree is for, and a job for each library, the largest first."""
    found = [path for path in sorted_walk(plain) if is_elf(plain / path)]
    machine = read_file(plain / found[0]).machine
    kept = _kept_names(plain, found) if bind else {}
    jobs = []
    for path in sorted(found, key=lambda path: -(plain / path).stat().st_size):
        options = PackOptions(
            level=level,
            window_size=window_size,
            pager_runpath=os.path.relpath(_PAGER_FOLDER, path.parent),
        )
        keep = kept[path] if bind else None
        jobs.append(_Job(source=plain / path, destination=twin / path, options=options, keep=keep))
    return machine, jobs


def _kept_names(root: Path, libraries: Sequence[Path]) -> Mapping[Path, frozenset[str]]:
    """For each library, its names that another one has too, or that Python code spells out."""
    names = {path: undefined_and_defined_names(root / path) for path in libraries}
    count = Counter(name for found in names.values() for name in found)
    spelled = {
        word.decode(errors="surrogateescape")
        for path in sorted_walk(root)
        if path.suffix == ".py"
        for word in _MANGLED.findall((root / path).read_bytes())
    }
    return {
        path: frozenset(name for name in found if count[name] > 1 or name in spelled)
        for path, found in names.items()
    }


def _pack(job: _Job) -> PackResult | Refusal:
    """Bind and pack a library; where it cannot be packed, its twin stays what it was."""
    with TemporaryDirectory(prefix="layerpack-bound-") as scratch:
        # The pager's messages name the file as the packer sees it, and so it keeps its name.
        bound = Path(scratch) / job.source.name
        source = job.source
        if job.keep is not None:
            dieted = diet(source, bound, DietOptions(keep=job.keep))
            source = source if isinstance(dieted, Refusal) else bound
        try:
            options = replace(job.options, ranges=pageable_ranges(job.source))
        except ElfError as error:
            return Refusal(reason=error.reason)
        return pack(source, job.destination, options)
