"""TensorFlow's and PyTorch's own wheels: their headers and build programs go, their licences stay.

The headers of such wheels include one another by the thousand, tools that drive a compiler name
some, and many do not end in `.h`: what small trees of made-up files do not show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from layerpack.builders.api import WheelFile
from layerpack.builders.unpack import payload_of
from layerpack.cache import Cache
from layerpack.passes.registry import passes_for
from layerpack.passes.runner import run_passes
from layerpack.payload import FileEntry
from layerpack.units import sha256_file
from tests.support.real_wheels import wheels
from tests.unit.passes.helpers import context_in

pytestmark = pytest.mark.recipe

_PASSES = {"tests", "docs", "programs", "sources"}
_HEADERS = {".h", ".hh", ".hpp", ".hxx", ".cuh", ".inc", ".def", ".td", ".inl", ".ipp", ".proto"}
_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")


@dataclass(frozen=True, slots=True)
class _Stripped:
    """The files of a wheel's payload, before and after the passes that leave files out."""

    before: tuple[FileEntry, ...]
    after: tuple[FileEntry, ...]


def _stripped(folder: Path, requirement: str, machine: str) -> _Stripped:
    # pytest retains its folders for a while; these hold a gigabyte.
    with TemporaryDirectory(dir=folder) as scratch:
        return _strip(Path(scratch), requirement, machine)


def _strip(folder: Path, requirement: str, machine: str) -> _Stripped:
    (path,) = wheels(folder / "wheels", requirement, machine=machine)
    name, version = path.name.split("-")[:2]
    digest = sha256_file(path)
    wheel = WheelFile(
        name=name, version=version, path=path, sha256=digest, kind="wheel", origin_sha256=digest
    )
    payload = payload_of([wheel], Cache(folder / "cache"), "python3.11").payload
    context = context_in(folder, runtime="python3.11")
    passes = [one for one in passes_for(context.recipe) if one.name in _PASSES]
    return _Stripped(tuple(payload), tuple(run_passes(payload, passes, context).payload))


def _headers(entries: Iterable[FileEntry]) -> list[FileEntry]:
    """Files that compilers read: by their endings, or by `include/`, where some have no ending."""
    return [
        entry
        for entry in entries
        if (suffix := Path(entry.path).suffix) in _HEADERS
        or ("/include/" in entry.path and not suffix and not _licences([entry]))
    ]


def _licences(entries: Iterable[FileEntry]) -> set[str]:
    return {one.path for one in entries if Path(one.path).name.upper().startswith(_LICENCES)}


def _size(entries: Iterable[FileEntry]) -> int:
    return sum(entry.size for entry in entries)


def test_headers_of_tensorflow_go(tmp_path: Path) -> None:
    found = _stripped(tmp_path, "tensorflow-cpu==2.16.2", "x86_64")
    assert _size(_headers(found.before)) > 150_000_000
    # A file of settings for Doxygen.
    assert _size(_headers(found.after)) < 1_000
    assert len(licences := _licences(found.before)) > 20
    assert _licences(found.after) == licences


def test_headers_and_build_programs_of_torch_go(tmp_path: Path) -> None:
    """TorchInductor reads some of the headers itself, with those that they include."""
    found = _stripped(tmp_path, "torch==2.10.0", "aarch64")
    assert _size(_headers(found.before)) > 35_000_000
    assert _size(_headers(found.after)) < 1_500_000
    assert _licences(found.after) == _licences(found.before)
    programs = [entry for entry in found.before if entry.path.startswith("python/torch/bin/")]
    assert _size(programs) > 40_000_000
    stay = [entry.path for entry in found.after if entry.path.startswith("python/torch/bin/")]
    # PyTorch starts it for tensors in shared memory.
    assert stay == ["python/torch/bin/torch_shm_manager"]
