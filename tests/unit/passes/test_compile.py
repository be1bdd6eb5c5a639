"""Bytecode: valid without its source's date, the same everywhere, and only as far as it fits."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.errors import BuildToolError
from layerpack.passes.api import PassContext
from layerpack.passes.compile import Compile
from layerpack.payload import FileEntry, Payload, entries_of
from tests.support.recipes import HERE
from tests.unit.passes.helpers import added, context_in, kept, payload_of

_TAG = sys.implementation.cache_tag
_MARGIN = 2**20


def _context(folder: Path, strip: str = "", room: int = 10**9) -> PassContext:
    return context_in(folder, strip, room=room, interpreter=Path(sys.executable), runtime=HERE)


def _materialised(root: Path, payload: Payload, context: PassContext) -> Path:
    entries = added(Compile().plan(payload, context)).values()
    payload.updated(add=entries).materialise(root)
    return root / "python"


def _python(site: Path, code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_bytecode_is_used_whatever_the_sources_date(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path, {"alpha": {"alpha/__init__.py": "def f():\n    return 'compiled'\n"}}
    )
    site = _materialised(tmp_path / "opt", payload, _context(tmp_path))
    assert (site / f"alpha/__pycache__/__init__.{_TAG}.pyc").is_file()
    (site / "alpha/__init__.py").write_text("def f():\n    return 'from source'\n")
    assert _python(site, "import alpha; print(alpha.f())") == "compiled"


def test_code_names_its_place_on_lambda(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/__init__.py": "x = 1"}})
    (entry,) = added(Compile().plan(payload, _context(tmp_path))).values()
    # A header of 16 bytes: magic, flags (1: by hash, unchecked), hash (PEP 552).
    data = entry.source.read_bytes()
    assert data[4:8] == b"\x01\0\0\0"
    assert marshal.loads(data[16:]).co_filename == "/opt/python/alpha/__init__.py"


def test_the_bytes_are_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy, twice, from other folders, with nothing cached, under another environment."""
    package = Path(sysconfig.get_path("purelib")) / "numpy"
    results: list[dict[str, FileEntry]] = []
    for name in ("one", "another/and/deeper"):
        root = tmp_path / name
        shutil.copytree(
            package,
            root / "numpy",
            ignore=lambda _, names: [n for n in names if n == "tests" or n.endswith(".so")],
        )
        payload = Payload(
            entry for entry in entries_of(root, "python", "numpy") if entry.path.endswith(".py")
        )
        results.append(added(Compile().plan(payload, _context(tmp_path / f"{len(results)}"))))
        monkeypatch.setenv("PYTHONHASHSEED", "77")
        monkeypatch.setenv("PYTHONOPTIMIZE", "2")
        monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
    first, second = ({path: entry.sha256 for path, entry in one.items()} for one in results)
    assert len(first) > 150
    assert first == second


def test_what_does_not_compile_is_told_and_left(tmp_path: Path) -> None:
    files = {
        "alpha/good.py": "x = 1",
        "alpha/template.py": "import {{ name }}",
        "alpha/null.py": "x = '\0'",
        "alpha/not-a-module.py": "x = 1",
        "alpha/templates-2.0/page.py": "x = 1",
    }
    payload = payload_of(tmp_path, {"alpha": files})
    edits = list(Compile().plan(payload, _context(tmp_path)))
    assert added(edits).keys() == {f"alpha/__pycache__/good.{_TAG}.pyc"}
    assert kept(edits).keys() == {"alpha/template.py", "alpha/null.py"}
    assert all("does not compile" in reason for reason in kept(edits).values())


def test_the_smallest_distributions_come_first_while_there_is_room(tmp_path: Path) -> None:
    def module(count: int) -> str:
        return "".join(f"def function_{n}(): return {n}\n" for n in range(count))

    tree = {
        "large": {"large/__init__.py": module(400), "large/other.py": module(400)},
        "small": {"small.py": module(2)},
        "middle": {"middle.py": module(50)},
    }
    payload = payload_of(tmp_path, tree)
    everything = added(Compile().plan(payload, _context(tmp_path)))
    small = everything[f"__pycache__/small.{_TAG}.pyc"].size
    middle = everything[f"__pycache__/middle.{_TAG}.pyc"].size
    total = sum(entry.size for entry in everything.values())

    for room, expected in (
        (total, {"small", "middle", "large"}),
        (total - 1, {"small", "middle"}),
        (small + middle, {"small", "middle"}),
        (small + middle - 1, {"small"}),
        (small - 1, set()),
        (-5 * 10**6, set()),
    ):
        edits = list(Compile().plan(payload, _context(tmp_path, room=room + _MARGIN)))
        assert {entry.distribution for entry in added(edits).values()} == expected, room
        left = set(tree) - expected
        assert {payload[f"python/{path}"].distribution for path in kept(edits)} == left

    edits = list(Compile().plan(payload, _context(tmp_path, "bytecode: unchecked-hash", room=-1)))
    assert added(edits).keys() == everything.keys()


def test_what_is_imported_comes_before_all_else_file_by_file(tmp_path: Path) -> None:
    def module(count: int) -> str:
        return "".join(f"def function_{n}(): return {n}\n" for n in range(count))

    tree = {
        "large": {"large/a.py": module(90), "large/b.py": module(90), "large/idle.py": module(30)},
        "small": {"small.py": module(2)},
        "used": {"used.py": module(4)},
    }
    payload = payload_of(tmp_path, tree)
    imported = frozenset({"python/large/a.py", "python/large/b.py", "python/used.py"})
    context = replace(_context(tmp_path), imported=imported)
    sizes = {
        Path(path).name.partition(".")[0]: entry.size
        for path, entry in added(Compile().plan(payload, context)).items()
    }
    # The imported ones of the smallest first, then the rest: small's before large's.
    order = ["used", "a", "b", "small", "idle"]
    assert sizes.keys() == set(order)
    for count in range(len(order) + 1):
        room = sum(sizes[name] for name in order[:count])
        for missing in (0, 1):
            context = replace(context, room=room - missing + _MARGIN)
            edits = list(Compile().plan(payload, context))
            made = {Path(path).name.partition(".")[0] for path in added(edits)}
            assert made == set(order[: count - missing if count else 0])
            assert {Path(path).stem for path in kept(edits)} == set(order) - made


def test_results_come_from_the_cache_until_a_module_changes(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"a.py": "x = 1"}})
    (entry,) = added(Compile().plan(payload, _context(tmp_path))).values()
    before = entry.source.stat().st_ino
    (again,) = added(Compile().plan(payload, _context(tmp_path))).values()
    assert (again, again.source.stat().st_ino) == (entry, before)
    changed = payload_of(tmp_path / "changed", {"alpha": {"a.py": "x = 2"}})
    (other,) = added(Compile().plan(changed, _context(tmp_path))).values()
    assert other.source != again.source


@pytest.mark.parametrize("damage", ["edited", "gone", "notes half", "notes gone", "notes empty"])
def test_a_damaged_result_is_made_anew(tmp_path: Path, damage: str) -> None:
    tree = {"alpha": {"a.py": "x = 1", "b.py": "y = 2", "c.py": "def broken("}}
    payload = payload_of(tmp_path, tree)
    first = list(Compile().plan(payload, _context(tmp_path)))
    entries = list(added(first).values())
    whole = [entry.source.read_bytes() for entry in entries]
    notes = entries[0].source.with_name("notes.json")
    match damage:
        case "edited":
            entries[0].source.write_bytes(whole[0][:-1] + b"?")
        case "gone":
            entries[1].source.unlink()
        case "notes half":
            notes.write_text(notes.read_text()[:20])
        case "notes gone":
            notes.unlink()
        case _:
            notes.write_text('{"failed": {}, "sha256": {}}')
    assert list(Compile().plan(payload, _context(tmp_path))) == first
    assert [entry.source.read_bytes() for entry in entries] == whole
    assert kept(first).keys() == {"c.py"}


def test_without_an_interpreter_auto_does_nothing_and_says_so(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"a.py": "x = 1"}})
    context = replace(_context(tmp_path), interpreter=None)
    (edit,) = Compile().plan(payload, context)
    assert f"no Python {context.profile.python} here" in edit.reason


def test_without_an_interpreter_bytecode_by_name_is_an_error(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"a.py": "x = 1"}})
    context = replace(_context(tmp_path, "bytecode: unchecked-hash"), interpreter=None)
    with pytest.raises(BuildToolError, match="to compile bytecode with") as caught:
        list(Compile().plan(payload, context))
    assert "uv python install" in caught.value.hint


def test_a_worker_that_fails_is_an_error(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"a.py": "x = 1"}})
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(
        "#!/bin/sh\n"
        'case "$*" in *version_info*) echo "3.11.0 cpython-311";; '
        "*) echo no memory >&2; exit 3;; esac\n"
    )
    interpreter.chmod(0o755)
    context = replace(_context(tmp_path), interpreter=interpreter)
    with pytest.raises(BuildToolError, match="compiling alpha failed:\nno memory"):
        list(Compile().plan(payload, context))
    # Nothing half done is left for the next build.
    assert not [path for path in (tmp_path / "cache" / "bytecode").rglob("*") if path.is_file()]


def test_none_means_none(tmp_path: Path) -> None:
    assert not Compile().wanted(_context(tmp_path / "a", "bytecode: none").recipe)
    assert Compile().wanted(_context(tmp_path / "b").recipe)
