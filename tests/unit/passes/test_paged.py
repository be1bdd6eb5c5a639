"""The code of libraries is stored compressed: which libraries, what for, and what stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.errors import BuildToolError
from layerpack.limits import LambdaLimits
from layerpack.passes import paged
from layerpack.passes.api import KEPT, RESERVE, Add
from layerpack.passes.compile import Compile
from layerpack.passes.paged import (
    PAGER,
    PAGER_PATH,
    Paged,
    pager_licences,
)
from layerpack.passes.runner import applied, run_passes
from layerpack.system_libraries import check_libraries
from tests.support.code import ANSWER, compiled, many_functions
from tests.support.recipes import HERE
from tests.unit.passes.helpers import Tree, added, context_in, kept, payload_of
from tests.unit.passes.paged_edits import PACKED, answers, exports, only, planned, rewritten

_TOO_LITTLE = "the pager would take more than packing libraries saves"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is not worth it."""
    folder = tmp_path_factory.mktemp("small")
    return compiled(folder / "small.so", "int answer(void) { return 42; }")


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
    assert library.needed[-1] == PAGER_SONAME
    assert library.runpath == "$ORIGIN/../../../lib"
    assert check_libraries(after, context.profile).remarks == ()


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
    assert "native.store" in kept([edit])["alpha/a.so"]
    assert not fits.cache.exists()
    for room in (RESERVE - 1, -1, -LambdaLimits.load().unzipped_bytes):
        edit = only(payload, replace(fits, room=room))
        assert edit.reason.endswith(": the layers would not fit otherwise")


@pytest.mark.parametrize("interpreter", [None, Path(sys.executable)])
def test_auto_counts_the_bytecode_that_must_come(
    tmp_path: Path, large: Path, interpreter: Path | None
) -> None:
    source = "x = 1\n" * 1000
    tree: Tree = {"alpha": {"alpha/a.so": large, "alpha/x.py": source}}
    payload = payload_of(tmp_path, tree)
    context = context_in(
        tmp_path, "bytecode: unchecked-hash", interpreter=interpreter, runtime=HERE
    )
    # Without the runtime's Python, twice the source.
    code = 2 * len(source)
    if interpreter is not None:
        (made,) = added(Compile().plan(payload, context)).values()
        code = made.size
    assert only(payload, replace(context, room=RESERVE + code - 1))
    assert not rewritten(planned(payload, replace(context, room=RESERVE + code)))


def test_what_was_asked_for_is_packed_whatever_the_room(tmp_path: Path, large: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large}})
    edit = only(payload, context_in(tmp_path, more=PACKED))
    assert edit.reason == "its code is stored compressed, and paged in when it is touched"


@pytest.mark.parametrize(
    "pattern",
    ["alpha/a.so", "alpha", "**/a.so", "python/alpha/a.so", "/opt/python/alpha"],
)
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


def test_a_recipe_for_arm64_packs_its_libraries_and_has_its_pager(
    tmp_path: Path, large: Path
) -> None:
    library = compiled(tmp_path / "build/arm.so", many_functions(), machine="aarch64 zig")
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": library, "alpha/b.so": large}})
    context = context_in(tmp_path, more=f"architecture: arm64\n{PACKED}")
    edits = planned(payload, context)
    assert rewritten(edits).keys() == {"alpha/a.so"}
    assert kept(edits) == {"alpha/b.so": "it is for x86_64"}
    (added,) = [edit for edit in edits if isinstance(edit, Add)]
    assert added.entry.source == pager_file("aarch64")
    assert elf.read_file(added.entry.source).machine == "aarch64"
    assert check_libraries(applied(payload, edits), context.profile).remarks == ()
