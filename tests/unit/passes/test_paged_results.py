"""Packed libraries in the cache, and what recordings and workers do to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.elf.index import PAGE
from layerpack.passes import paged_jobs
from layerpack.passes.api import RESERVE
from layerpack.passes.paged import (
    pack_for_recording,
    packing_inputs,
)
from layerpack.passes.runner import applied
from layerpack.units import sha256_file
from tests.support.code import ANSWER, compiled, many_functions
from tests.unit.passes.helpers import Tree, context_in, payload_of
from tests.unit.passes.paged_edits import PACKED, answers, only, planned, rewritten

_TOO_LITTLE = "the pager would take more than packing libraries saves"


def test_results_come_from_the_cache(tmp_path: Path, exporting: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": exporting}})
    context = context_in(tmp_path, more=PACKED)
    first = planned(payload, context)
    before = {path: path.stat().st_ino for path in context.cache.rglob("*") if path.is_file()}
    assert len(before) == 4, "a bound and a packed library, each with its note"
    assert planned(payload, context) == first
    assert before == {p: p.stat().st_ino for p in context.cache.rglob("*") if p.is_file()}
    # Another folder is another relative path, but the same bound library.
    moved = payload_of(tmp_path, {"alpha": {"alpha/deep/a.so": exporting}})
    assert only(moved, context).source not in before
    assert len(list(context.cache.glob("paged/bound/*.so"))) == 1


@pytest.mark.parametrize("damage", ["edited", "emptied", "gone", "note half", "note of another"])
@pytest.mark.parametrize("what", ["packed", "bound", "both"])
def test_a_damaged_result_is_made_anew(
    tmp_path: Path, exporting: Path, what: str, damage: str
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": exporting}})
    context = context_in(tmp_path, more="native: {store: paged, level: 1}\n")
    first = only(payload, context)
    whole = first.source.read_bytes()
    for kind in ("packed", "bound") if what == "both" else (what,):
        (file,) = context.cache.glob(f"paged/{kind}/*.so")
        match damage:
            case "edited":
                data = file.read_bytes()
                file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            case "emptied":
                file.write_bytes(b"")
            case "gone":
                file.unlink()
            case "note half":
                file.with_suffix(".json").write_text('{"sha2')
            case _:
                file.with_suffix(".json").write_text('{"sha256": "' + "0" * 64 + '"}')
    second = only(payload, context)
    assert second.paged == first.paged
    assert second.source.read_bytes() == whole


def test_recorded_pages_lie_together(tmp_path: Path, exporting: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": exporting}})
    context = context_in(tmp_path, more=PACKED)
    cold = only(payload, context)
    (bound,) = context.cache.glob("paged/bound/*.so")
    # The trace names what was packed: the library with its references bound.
    warm = replace(context, recordings={sha256_file(bound): (7, 2, 3)})
    hot = only(payload, warm)
    assert hot.paged is not None
    assert hot.paged.hot_pages == 3
    assert hot.source != cold.source
    other = replace(context, recordings={sha256_file(exporting): (7, 2, 3)})
    unknown = only(payload, other)
    assert unknown.paged is not None and unknown.paged.hot_pages == 0
    after = applied(payload, planned(payload, warm))
    assert answers(after, tmp_path / "opt", "python/alpha/a.so") == [ANSWER, ANSWER]


@pytest.mark.parametrize("touched", ["auto", "mapped", "packed"])
def test_touched_pages_are_mapped_where_there_is_room(
    tmp_path: Path, large: Path, touched: str
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large, "alpha/b.so": large}})
    more = f"native: {{store: paged, bind: false, touched: {touched}}}\n"
    recordings = {sha256_file(large): tuple(range(20))}

    def sizes(room: int) -> list[int]:
        context = replace(context_in(tmp_path, more=more, room=room), recordings=recordings)
        edits = rewritten(planned(payload, context)).values()
        assert all(edit.paged and edit.paged.hot_pages == 20 for edit in edits)
        return [edit.source.stat().st_size for edit in edits]

    much, none = sizes(10**9), sizes(-(10**9))
    if touched != "auto":
        assert much == none
        return
    (packed, _), (mapped, _) = none, much
    assert 0 < mapped - packed < 20 * PAGE
    # Negative: what the layers hold too much, before this pass.
    barely = 2 * packed + mapped - packed + RESERVE - 2 * large.stat().st_size
    assert sorted(sizes(barely)) == [packed, mapped]
    assert sizes(barely - 1) == [packed, packed]


def test_pages_that_there_are_not_are_passed_over(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    context = context_in(tmp_path, more="native: {store: paged, bind: false}\n")
    pages = (3, 10**6, 3, 4)
    edit = only(payload, replace(context, recordings={sha256_file(large): pages}))
    assert edit.paged is not None
    assert edit.paged.hot_pages == 2


def test_what_would_be_packed_is_known_by_the_names_that_a_trace_gives(
    tmp_path: Path, exporting: Path, large: Path
) -> None:
    tree: Tree = {"alpha": {"alpha/a.so": exporting, "alpha/b.so": large, "alpha/x.py": ""}}
    payload = payload_of(tmp_path, tree)
    context = context_in(tmp_path, more=PACKED)
    found = packing_inputs(payload, context)
    assert not list(context.cache.glob("paged/packed/*"))
    (bound,) = context.cache.glob("paged/bound/*.so")
    assert found == {
        sha256_file(bound): "python/alpha/a.so",
        sha256_file(large): "python/alpha/b.so",
    }
    for edit in rewritten(planned(payload, context)).values():
        packed = edit.source.read_bytes()
        assert any(bytes.fromhex(digest) in packed for digest in found)
    assert packing_inputs(payload, context_in(tmp_path, room=10**9)) == {}


def test_a_payload_to_record_is_packed_fast_and_shares_what_was_bound(
    tmp_path: Path, exporting: Path
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": exporting}})
    context = context_in(tmp_path, more=PACKED)
    made = pack_for_recording(payload, context)
    (bound,) = context.cache.glob("paged/bound/*.so")
    warm = replace(context, recordings={sha256_file(bound): (1,)})
    assert pack_for_recording(payload, warm)["python/alpha/a.so"] == made["python/alpha/a.so"]
    final = applied(payload, planned(payload, warm))
    assert final["python/alpha/a.so"].sha256 != made["python/alpha/a.so"].sha256
    assert len(list(context.cache.glob("paged/bound/*.so"))) == 1
    assert answers(made, tmp_path / "opt", "python/alpha/a.so") == [ANSWER, ANSWER]
    plain = context_in(tmp_path, room=10**9)
    assert pack_for_recording(payload, plain) is payload


def test_work_is_shared_by_processes_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paged_jobs, "_WORTH_PROCESSES", 0)
    libraries = {
        f"alpha/{n}.so": compiled(tmp_path / "build" / f"{n}.so", many_functions(30 + n))
        for n in range(3)
    }
    seen: list[tuple[int, int]] = []
    context = context_in(
        tmp_path, more=PACKED, progress=lambda done, total: seen.append((done, total))
    )
    payload = payload_of(tmp_path, {"alpha": libraries})
    edits = planned(payload, context)
    assert rewritten(edits).keys() == libraries.keys()
    total = sum(path.stat().st_size for path in libraries.values())
    assert len(seen) == len(libraries)
    assert seen[-1] == (total, total)
    after = applied(payload, edits)
    assert answers(after, tmp_path / "opt", "python/alpha/2.so") == [ANSWER, ANSWER]
