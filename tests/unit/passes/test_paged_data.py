"""Read-only data of libraries: compressed as the recipe says, or as far as the room asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.elf.pager import pager_file
from layerpack.passes.api import RESERVE, Rewrite
from layerpack.passes.runner import applied
from layerpack.payload import Payload
from tests.support.code import ANSWER, compiled, many_functions
from tests.support.compilers import compile_source
from tests.support.data import noise
from tests.unit.passes.helpers import Tree, context_in, payload_of
from tests.unit.passes.paged_edits import answers, planned, rewritten

_AT_LOAD = "its read-only data, too, is compressed, and decompressed at load"
_FOR_ROOM = f"{_AT_LOAD}: the layers would not fit otherwise"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three libraries: with data of 600 kB, with data of 300 kB, and with none."""
    folder = tmp_path_factory.mktemp("libraries")
    code = many_functions(30)
    return [
        compiled(
            folder / f"lib{rows}.so",
            f"{code}{noise(rows)}const void *data{rows}(void) {{ return noise; }}\n"
            if rows
            else code,
        )
        for rows in (600, 300, 0)
    ]


@pytest.fixture
def payload(libraries: list[Path], tmp_path: Path) -> Payload:
    names = ("large", "middle", "none")
    tree: Tree = {
        "alpha": {f"alpha/{n}.so": path for n, path in zip(names, libraries, strict=True)}
    }
    return payload_of(tmp_path, tree)


def _packed(payload: Payload, folder: Path, data: str, room: int = 10**9) -> dict[str, Rewrite]:
    more = f"native: {{store: paged, bind: false, level: 3, data: {data}}}\n"
    return rewritten(planned(payload, context_in(folder, more=more, room=room)))


def _with_data(edits: dict[str, Rewrite]) -> set[str]:
    assert all(edit.paged for edit in edits.values())
    found = {path for path, edit in edits.items() if edit.paged and edit.paged.data_bytes}
    assert {path for path, edit in edits.items() if _AT_LOAD in edit.reason} == found
    return {path.removeprefix("alpha/").removesuffix(".so") for path in found}


def _growth(edits: dict[str, Rewrite], payload: Payload) -> int:
    sizes = {entry.path.removeprefix("python/"): entry.size for entry in payload}
    return sum(edit.source.stat().st_size - sizes[path] for path, edit in edits.items())


def test_as_the_recipe_says(tmp_path: Path, payload: Payload) -> None:
    plain = _packed(payload, tmp_path, "plain", room=-(10**9))
    assert _with_data(plain) == set()
    packed = _packed(payload, tmp_path, "packed")
    assert _with_data(packed) == {"large", "middle"}
    assert not any(_FOR_ROOM in edit.reason for edit in packed.values())
    record = packed["alpha/large.so"].paged
    assert record is not None and record.data_bytes > 590_000
    # What is loaded as it is no longer holds it.
    assert record.mapped_bytes < record.original_bytes - record.data_bytes


def test_the_library_answers_as_before(tmp_path: Path, payload: Payload) -> None:
    more = "native: {store: paged, bind: false, level: 3, data: packed}\n"
    after = applied(payload, planned(payload, context_in(tmp_path, more=more)))
    for name in ("large", "middle"):
        path = f"python/alpha/{name}.so"
        assert answers(after, tmp_path / name, path) == [ANSWER, ANSWER]


def test_auto_takes_as_few_libraries_as_the_room_asks_for(tmp_path: Path, payload: Payload) -> None:
    plain = _packed(payload, tmp_path, "plain")
    # So much room is just enough without data.
    enough = RESERVE + pager_file("x86_64").stat().st_size + _growth(plain, payload)
    assert _with_data(_packed(payload, tmp_path, "auto")) == set()
    assert _with_data(_packed(payload, tmp_path, "auto", enough)) == set()
    one = _packed(payload, tmp_path, "auto", enough - 1)
    assert _with_data(one) == {"large"}
    assert _FOR_ROOM in one["alpha/large.so"].reason
    saved = _growth(plain, payload) - _growth(one, payload)
    assert _with_data(_packed(payload, tmp_path, "auto", enough - saved)) == {"large"}
    assert _with_data(_packed(payload, tmp_path, "auto", enough - saved - 1)) == {"large", "middle"}
    assert _with_data(_packed(payload, tmp_path, "auto", -(10**9))) == {"large", "middle"}


@pytest.mark.exhaustive
def test_data_that_a_program_copies_stays(
    tmp_path: Path, libraries: list[Path], payload: Payload
) -> None:
    named = 'const char named[90000] = "x";\n' + many_functions(200) + noise()
    library = compiled(
        tmp_path / "libnamed.so", f"{named}const void *data(void) {{ return noise; }}\n"
    )
    program = compile_source(
        tmp_path / "program",
        ["gcc", "-no-pie", "-fno-pic"],
        "extern const char named[90000]; int main(void) { return named[4000]; }",
        f"-L{tmp_path}",
        "-lnamed",
    )
    tree: Tree = {"alpha": {"alpha/libnamed.so": library, "alpha/run": program}}
    for data in ("packed", "auto"):
        found = _packed(payload_of(tmp_path / data, tree), tmp_path, data, -(10**9))
        assert _with_data(found) == set()
        why = "stored unmodified: a program copies some of it before any code runs"
        assert why in found["alpha/libnamed.so"].reason
    tree = {"alpha": {"alpha/libnamed.so": library}}
    assert _with_data(_packed(payload_of(tmp_path / "alone", tree), tmp_path, "packed")) == {
        "libnamed"
    }
