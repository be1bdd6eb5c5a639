"""Code that workloads touched: mapped where the layers have room, and never in place of more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.elf.drops import NO_DROPS, Dropped, Drops
from layerpack.elf.index import pages_of
from layerpack.elf.ranges import pageable_ranges
from layerpack.passes.api import PassContext
from layerpack.passes.compile import Compile
from layerpack.passes.paged import Paged
from layerpack.passes.paged_jobs import PackJob
from layerpack.passes.paged_touched import stored
from layerpack.passes.runner import run_passes
from layerpack.payload import Payload
from layerpack.units import sha256_file
from tests.support.recipes import HERE
from tests.support.symbols import symbols
from tests.unit.passes.helpers import Tree, context_in, payload_of

NO_ROOM = -(10**9)


def _context(folder: Path, library: Path, touched: str, room: int, share: float = 1) -> PassContext:
    """All of the library's code was touched, or a share of it."""
    pages = tuple(range(int(share * pages_of(pageable_ranges(library)))))
    more = f"native: {{store: paged, touched: {touched}}}\n"
    context = context_in(folder, more=more, room=room)
    return replace(context, recordings={sha256_file(library): pages})


def _drops(library: Path) -> Drops:
    gone = symbols(library)["part5"]
    return Drops(
        dropped=(Dropped(start=gone.start, end=gone.end, name="part5", hint="add 'part5'"),)
    )


def _stored(
    library: Path, context: PassContext, drops: Drops = NO_DROPS, *, least: int = 0
) -> PackJob:
    job = PackJob(
        path="python/alpha/a.so",
        size=library.stat().st_size,
        sha256=sha256_file(library),
        source=library,
        folder=context.cache / "paged",
        keep=None,
        level=3,
        runpath="$ORIGIN/../../lib",
        drops=drops,
    )
    job = replace(job, recordings=dict(context.recordings))
    (done,) = stored([job], context, needed=0, least=least)
    return done


@pytest.mark.parametrize("room", [10**9, NO_ROOM])
@pytest.mark.parametrize("touched", ["auto", "mapped"])
def test_code_that_is_left_out_goes_though_all_was_touched(
    tmp_path: Path, large: Path, touched: str, room: int
) -> None:
    context = _context(tmp_path, large, touched, room)
    done = _stored(large, context, _drops(large))
    assert not done.is_refused
    assert done.stored_bytes < done.size


@pytest.mark.parametrize("touched", ["auto", "mapped"])
def test_code_that_is_left_out_goes_though_mapped_the_rest_would_not_save_the_pagers_bytes(
    tmp_path: Path, large: Path, touched: str
) -> None:
    context = _context(tmp_path, large, touched, 10**9, share=0.5)
    mapped = _stored(large, context, _drops(large))
    assert mapped.mapped and not mapped.is_refused
    saved = mapped.size - mapped.stored_bytes
    assert _stored(large, context, _drops(large), least=saved - 1) == mapped
    packed = _stored(large, context, _drops(large), least=saved)
    assert packed.size - packed.stored_bytes > saved
    assert _stored(large, context, least=saved).mapped


@pytest.mark.parametrize("touched", ["auto", "mapped"])
def test_a_library_of_which_all_was_touched_stays_as_it_is_where_there_is_room(
    tmp_path: Path, large: Path, touched: str
) -> None:
    assert _stored(large, _context(tmp_path, large, touched, 0)).is_refused
    done = _stored(large, _context(tmp_path, large, touched, -1))
    assert not done.is_refused
    assert done.stored_bytes < done.size


@pytest.mark.exhaustive
def test_mapped_code_leaves_the_room_that_bytecode_takes(tmp_path: Path, large: Path) -> None:
    """Of functions this short, bytecode is seven times as large as their source."""
    tree: Tree = {"alpha": {"alpha/a.so": large, "alpha/x.py": "f = lambda: 0\n" * 20_000}}
    payload = payload_of(tmp_path, tree)

    def growth(touched: str, room: int) -> int:
        context = context_in(
            tmp_path,
            "bytecode: unchecked-hash",
            more=f"native: {{store: paged, bind: false, touched: {touched}}}\n",
            room=room,
            interpreter=Path(sys.executable),
            runtime=HERE,
        )
        context = replace(context, recordings={sha256_file(large): tuple(range(20))})
        after = run_passes(payload, [Paged(), Compile()], context).payload
        return _bytes(after) - _bytes(payload)

    packed = growth("packed", NO_ROOM)
    assert growth("mapped", NO_ROOM) > packed
    assert growth("auto", packed) == packed


def _bytes(payload: Payload) -> int:
    return sum(entry.size for entry in payload)
