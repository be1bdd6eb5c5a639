"""Symbols go from every library, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack import elf
from layerpack.passes.api import Rewrite
from layerpack.passes.symbols import Symbols
from tests.unit.elf.libraries import answer_of, debug_library
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of


def test_libraries_are_rewritten_and_others_left(tmp_path: Path) -> None:
    library = debug_library(tmp_path / "build" / "lib.so")
    stripped = elf.strip_file(library)
    assert isinstance(stripped, bytes)
    tree: Tree = {
        "alpha": {
            "alpha/_c.cpython-312-x86_64-linux-gnu.so": library,
            "alpha.libs/libz-1234abcd.so.1.2": library,
            "alpha/data.so": "a text",
            "alpha/done.so": stripped,
            "alpha/x.py": "",
        }
    }
    payload = payload_of(tmp_path, tree)
    edits = list(Symbols().plan(payload, context_in(tmp_path)))
    rewrites = {edit.path: edit for edit in edits if isinstance(edit, Rewrite)}
    assert rewrites.keys() == {
        "python/alpha/_c.cpython-312-x86_64-linux-gnu.so",
        "python/alpha.libs/libz-1234abcd.so.1.2",
    }
    for edit in rewrites.values():
        assert edit.source.read_bytes() == stripped
        assert answer_of(edit.source) == 42
    assert kept(edits) == {"alpha/done.so": "it has nothing to strip"}


def test_results_come_from_the_cache(tmp_path: Path) -> None:
    library = debug_library(tmp_path / "build" / "lib.so")
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": library}})
    context = context_in(tmp_path)
    (first,) = Symbols().plan(payload, context)
    assert isinstance(first, Rewrite)
    # Were it made again, it would be from this.
    payload["python/alpha/a.so"].source.write_bytes(b"\x7fELF and no library")
    before = first.source.stat()
    (second,) = Symbols().plan(payload, context)
    assert second == first
    assert first.source.stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", ["edited", "emptied", "gone", "note half", "note of another"])
def test_a_damaged_result_is_made_anew(tmp_path: Path, damage: str) -> None:
    library = debug_library(tmp_path / "build" / "lib.so")
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": library}})
    context = context_in(tmp_path)
    (first,) = Symbols().plan(payload, context)
    assert isinstance(first, Rewrite)
    whole = first.source.read_bytes()
    note = first.source.with_suffix(".json")
    match damage:
        case "edited":
            first.source.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "emptied":
            first.source.write_bytes(b"")
        case "gone":
            first.source.unlink()
        case "note half":
            note.write_text('{"sha2')
        case _:
            note.write_text('{"sha256": "' + "0" * 64 + '"}')
    assert list(Symbols().plan(payload, context)) == [first]
    assert first.source.read_bytes() == whole == elf.strip_file(library)


def test_much_work_is_shared_by_processes(tmp_path: Path) -> None:
    """Above a size, libraries are stripped in processes of their own; the outcome is the same."""
    filler = "\nchar filler[20000000] = {1};\n"
    libraries = [
        debug_library(
            tmp_path / "build" / f"{n}.so", source=f"int answer(void) {{ return {n}; }}{filler}"
        )
        for n in range(2)
    ]
    files = {f"alpha/{path.name}": path for path in libraries}
    seen: list[tuple[int, int]] = []
    context = context_in(tmp_path, progress=lambda done, total: seen.append((done, total)))
    edits = list(Symbols().plan(payload_of(tmp_path, {"alpha": files}), context))
    for edit, path in zip(edits, libraries, strict=True):
        assert isinstance(edit, Rewrite)
        assert edit.source.read_bytes() == elf.strip_file(path)
    total = sum(path.stat().st_size for path in libraries)
    assert seen[-1] == (total, total)
    assert len(seen) == 2


def test_assets_are_not_touched(tmp_path: Path) -> None:
    library = debug_library(tmp_path / "build" / "lib.so")
    payload = payload_of(tmp_path, {"asset:model": {"x.so": library}}, "assets/model/")
    assert list(Symbols().plan(payload, context_in(tmp_path))) == []
