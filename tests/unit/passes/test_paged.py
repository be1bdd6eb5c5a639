"""The code of libraries is stored compressed: which libraries, what for, and what stays."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.errors import BuildToolError
from layerpack.limits import LambdaLimits
from layerpack.passes import paged, paged_jobs
from layerpack.passes.api import KEPT, RESERVE, Add, Edit, PassContext, Rewrite
from layerpack.passes.paged import (
    PAGER,
    PAGER_PATH,
    Paged,
    pack_for_recording,
    packing_inputs,
    pager_licences,
)
from layerpack.passes.runner import applied, run_passes
from layerpack.payload import Payload
from layerpack.system_libraries import check_libraries
from layerpack.units import sha256_file
from tests.support.code import ANSWER, compiled, mangled_functions, many_functions
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of

ARM64_COMPILER = "aarch64-linux-gnu-gcc"
PACKED = "native: {store: paged}\n"
_TOO_LITTLE = "the pager would take more than packing libraries saves"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of C with much code."""
    return compiled(tmp_path_factory.mktemp("large") / "large.so", many_functions())


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of C++ that exports much, and of which nobody knows."""
    folder = tmp_path_factory.mktemp("exporting")
    return compiled(folder / "exporting.so", mangled_functions(), language="c++")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is not worth it."""
    folder = tmp_path_factory.mktemp("small")
    return compiled(folder / "small.so", "int answer(void) { return 42; }")


def planned(payload: Payload, context: PassContext) -> list[Edit]:
    """What the pass plans."""
    return list(Paged().plan(payload, context))


def rewritten(edits: list[Edit]) -> dict[str, Rewrite]:
    """Path below site-packages -> the rewrite."""
    return {e.path.removeprefix("python/"): e for e in edits if isinstance(e, Rewrite)}


def only(payload: Payload, context: PassContext) -> Rewrite:
    """The one rewrite that the pass plans."""
    (edit,) = rewritten(planned(payload, context)).values()
    return edit


def answers(payload: Payload, root: Path, path: str) -> list[int]:
    """`answer()` of a library at /opt, with Lambda's search path and with none."""
    payload.materialise(root)
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1], mode=2).answer())"
    command = [sys.executable, "-I", "-c", code, str(root / path)]
    found = []
    for search in ({"LD_LIBRARY_PATH": str(root / "lib")}, {}):
        environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"} | search
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        found.append(int(ended.stdout))
    return found


def exports(edit: Rewrite, name: str) -> bool:
    """Whether a rewritten library has a symbol whose name contains `name`."""
    # All of a packed library's names lie in it as they are; readelf gives up where section
    # headers are missing.
    return name.encode() in edit.source.read_bytes()


def test_libraries_are_packed_and_the_pager_comes_along(
    tmp_path: Path, large: Path, small: Path
) -> None:
    tree: Tree = {
        "alpha": {
            "alpha/deep/_c.cpython-312-x86_64-linux-gnu.so": large,
            "alpha/_small.so": small,
            "alpha/script.so": "INPUT(libc.so.6)",
            "alpha/x.py": "",
        }
    }
    payload = payload_of(tmp_path, tree)
    context = context_in(tmp_path, more=PACKED)
    outcome = run_passes(payload, [Paged()], context)

    path = "python/alpha/deep/_c.cpython-312-x86_64-linux-gnu.so"
    after = outcome.payload
    assert after[path].size < 0.5 * payload[path].size
    assert {e.path for e in after} == {e.path for e in payload} | {"lib/liblayerpack_pager.so.1"}
    assert after[PAGER_PATH].distribution == PAGER
    assert after["python/alpha/_small.so"].sha256 == payload["python/alpha/_small.so"].sha256
    remarks = {one.path: one for one in outcome.remarks}
    assert set(remarks) == {path, PAGER_PATH, "python/alpha/_small.so"}
    assert remarks["python/alpha/_small.so"].reason.startswith("it has only ")
    told = remarks[path].paged
    assert told is not None
    assert told.original_bytes == large.stat().st_size
    assert told.mapped_bytes + told.compressed_bytes < after[path].size
    assert told.paged_bytes > 0.7 * told.original_bytes
    assert told.hot_pages == 0
    assert answers(after, tmp_path / "opt", path) == [ANSWER, ANSWER]
    # Its users find it: in the layers, and by the path in the library.
    library = elf.read_file(after[path].source)
    assert library.needed[0] == PAGER_SONAME
    assert library.rpath == "$ORIGIN/../../../lib"
    assert check_libraries(after, context.profile) == ()


def test_the_pagers_licence_goes_with_it(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    assert pager_licences(payload) == {}
    after = applied(payload, planned(payload, context_in(tmp_path, more=PACKED)))
    ((name, (licence,)),) = pager_licences(after).items()
    assert name == PAGER
    assert "Redistribution" in licence.source.read_text()


def test_without_a_packed_library_there_is_no_pager(tmp_path: Path, small: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": small}})
    (edit,) = planned(payload, context_in(tmp_path, more=PACKED))
    assert kept([edit]).keys() == {"alpha/a.so"}
    assert planned(payload_of(tmp_path / "no", {}), context_in(tmp_path, more=PACKED)) == []


def test_a_saving_below_the_pagers_size_is_none(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = tmp_path / "pager.so"
    pager.write_bytes(bytes(large.stat().st_size))
    monkeypatch.setattr(paged, "pager_file", lambda machine: pager)
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    assert kept(planned(payload, context_in(tmp_path, more=PACKED))) == {"alpha/a.so": _TOO_LITTLE}


def test_without_a_pager_nothing_is_packed(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(machine: str) -> Path:
        raise BuildToolError(f"no pager for {machine}")

    monkeypatch.setattr(paged, "pager_file", missing)
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    with pytest.raises(BuildToolError, match="no pager for x86_64"):
        planned(payload, context_in(tmp_path, more=PACKED))
    assert not (tmp_path / "cache").exists()


def test_auto_packs_where_the_layers_would_not_fit(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    fits = context_in(tmp_path, room=RESERVE)
    (edit,) = planned(payload, fits)
    assert kept([edit]) == {"alpha/a.so": "stays as it is: the layers fit (native.store)"}
    assert not fits.cache.exists()
    for room in (RESERVE - 1, -1, -LambdaLimits.load().unzipped_bytes):
        edit = only(payload, replace(fits, room=room))
        assert edit.reason.endswith(": the layers would not fit otherwise")


def test_auto_counts_the_bytecode_that_must_come(tmp_path: Path, large: Path) -> None:
    tree: Tree = {"alpha": {"alpha/a.so": large, "alpha/x.py": "x = 1\n" * 1000}}
    payload = payload_of(tmp_path, tree)
    context = context_in(tmp_path, "bytecode: unchecked-hash", room=RESERVE)
    assert only(payload, context)
    assert not rewritten(planned(payload, replace(context, room=RESERVE + 9000)))


def test_what_was_asked_for_is_packed_whatever_the_room(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    edit = only(payload, context_in(tmp_path, more=PACKED))
    assert edit.reason == "its code is stored compressed, and paged in when it is touched"


@pytest.mark.parametrize("pattern", ["alpha/a.so", "alpha", "**/a.so"])
def test_what_the_recipe_keeps_stays_plain(tmp_path: Path, large: Path, pattern: str) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large, "beta/b.so": large}})
    more = f"native: {{store: paged, keep-plain: ['{pattern}']}}\n"
    edits = planned(payload, context_in(tmp_path, more=more))
    assert kept(edits) == {"alpha/a.so": "kept plain by native.keep-plain"}
    assert rewritten(edits).keys() == {"beta/b.so"}
    edits = planned(payload, context_in(tmp_path, f"keep: ['{pattern}']", more=PACKED))
    assert kept(edits) == {"alpha/a.so": KEPT}
    assert rewritten(edits).keys() == {"beta/b.so"}


def test_assets_are_not_touched(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"asset:model": {"x.so": large}}, "assets/model/")
    assert planned(payload, context_in(tmp_path, more=PACKED)) == []


def test_libraries_of_lib_find_the_pager_beside_them(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"system": {"libbig.so.1": large}}, "lib/")
    after = applied(payload, planned(payload, context_in(tmp_path, more=PACKED)))
    assert after["lib/libbig.so.1"].size < large.stat().st_size
    assert answers(after, tmp_path / "opt", "lib/libbig.so.1") == [ANSWER, ANSWER]


def test_refusals_say_why(tmp_path: Path, large: Path) -> None:
    data = large.read_bytes()
    tree: Tree = {"alpha": {"alpha/a.so": data + b"payload", "alpha/cut.so": data[:3000]}}
    payload = payload_of(tmp_path, {"alpha": {**tree["alpha"], "alpha/b.so": large}})
    edits = planned(payload, context_in(tmp_path, more=PACKED))
    told = kept(edits)
    assert told.keys() == {"alpha/a.so", "alpha/cut.so"}
    assert told["alpha/a.so"] == "it carries data after its end, which it may read"
    assert rewritten(edits).keys() == {"alpha/b.so"}
    packed = applied(payload, edits)
    again = planned(packed.updated(remove=[PAGER_PATH]), context_in(tmp_path, more=PACKED))
    assert kept(again)["alpha/b.so"] == "it is packed already"


def test_libraries_of_another_machine_stay(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    context = context_in(tmp_path, more=f"architecture: arm64\n{PACKED}")
    assert kept(planned(payload, context)) == {"alpha/a.so": "it is for x86_64"}


def test_references_within_a_library_are_bound_where_nobody_else_knows_the_names(
    tmp_path: Path, exporting: Path, large: Path
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": exporting, "alpha/b.so": large}})
    bound, free = (
        rewritten(planned(payload, context_in(tmp_path, more=more)))["alpha/a.so"]
        for more in (PACKED, "native: {store: paged, bind: false}\n")
    )
    name = "a_function_with_a_rather_long_name_77"
    assert exports(free, name)
    assert not exports(bound, name)
    assert exports(bound, "answer")
    assert bound.source.stat().st_size < free.source.stat().st_size - 64 * 1024
    after = applied(payload, planned(payload, context_in(tmp_path, more=PACKED)))
    assert answers(after, tmp_path / "opt", "python/alpha/a.so") == [ANSWER, ANSWER]


def test_names_that_another_library_or_python_code_knows_stay(
    tmp_path: Path, exporting: Path
) -> None:
    imported = "a_function_with_a_rather_long_name_5"
    user = compiled(
        tmp_path / "user.so",
        f"namespace payload {{ int {imported}(int, const char *); }}\n"
        f'extern "C" int user() {{ return payload::{imported}(1, nullptr); }}\n',
        language="c++",
    )
    spelled = "_ZN7payload36a_function_with_a_rather_long_name_9EiPKc"
    tree: Tree = {
        "alpha": {"alpha/a.so": exporting},
        "beta": {"beta/user.so": user, "beta/x.py": f"library['{spelled}']\n"},
    }
    packed = rewritten(planned(payload_of(tmp_path, tree), context_in(tmp_path, more=PACKED)))
    for name in (imported, spelled):
        assert exports(packed["alpha/a.so"], name)
    assert not exports(packed["alpha/a.so"], "a_function_with_a_rather_long_name_77")


def test_two_libraries_that_define_the_same_keep_their_names(
    tmp_path: Path, exporting: Path
) -> None:
    data = exporting.read_bytes()
    tree: Tree = {"alpha": {"alpha/a.so": data}, "beta": {"beta/b.so": data}}
    packed = rewritten(planned(payload_of(tmp_path, tree), context_in(tmp_path, more=PACKED)))
    assert len(packed) == 2
    for edit in packed.values():
        assert exports(edit, "a_function_with_a_rather_long_name_77")


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
        f"alpha/{n}.so": compiled(tmp_path / "build" / f"{n}.so", many_functions(20 + n))
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


@pytest.mark.roots
def test_a_recipe_for_arm64_packs_its_libraries_and_has_its_pager(
    tmp_path: Path, large: Path
) -> None:
    library = compiled(
        tmp_path / "build/arm.so", many_functions(), "-nostdlib", compiler=ARM64_COMPILER
    )
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": library, "alpha/b.so": large}})
    context = context_in(tmp_path, more=f"architecture: arm64\n{PACKED}")
    edits = planned(payload, context)
    assert rewritten(edits).keys() == {"alpha/a.so"}
    assert kept(edits) == {"alpha/b.so": "it is for x86_64"}
    (added,) = [edit for edit in edits if isinstance(edit, Add)]
    assert added.entry.source == pager_file("aarch64")
    assert elf.read_file(added.entry.source).machine == "aarch64"
    assert check_libraries(applied(payload, edits), context.profile) == ()
