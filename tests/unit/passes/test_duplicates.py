"""Copies of libraries go where the loader finds the one that stays: the loader is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from layerpack.passes.api import Add, Edit, Remove
from layerpack.passes.duplicates import Duplicates
from layerpack.payload import Payload
from tests.support.libraries import make_library
from tests.unit.passes.helpers import added, context_in, kept, payload_of, removed

_NAME = "libz-1234abcd.so.1"


def _shared(folder: Path, name: str = _NAME, **options: object) -> Path:
    return make_library(
        folder / "build" / name,
        source="int shared(void) { return 21; }",
        soname=name,
        **options,  # type: ignore[arg-type]
    )


def _user(folder: Path, name: str, needs: Path, **options: object) -> Path:
    source = "int shared(void); int answer(void) { return 2 * shared(); }"
    return make_library(folder / "build" / name, source=source, needs=[needs], **options)  # type: ignore[arg-type]


def _plan(folder: Path, payload: Payload) -> list[Edit]:
    return list(Duplicates().plan(payload, context_in(folder)))


def _run(folder: Path, payload: Payload, edits: list[Edit], users: Mapping[str, int]) -> None:
    """Load each user from the tree with the edits applied, as on Lambda."""
    after = payload.updated(
        add=[edit.entry for edit in edits if isinstance(edit, Add)],
        remove=[edit.path for edit in edits if isinstance(edit, Remove)],
    )
    root = folder / "opt"
    shutil.rmtree(root, ignore_errors=True)
    after.materialise(root)
    for path, expected in users.items():
        code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1], mode=2).answer())"
        run = subprocess.run(
            [sys.executable, "-I", "-c", code, str(root / "python" / path)],
            env={**os.environ, "LD_LIBRARY_PATH": str(root / "lib")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) == expected


def test_copies_of_two_wheels_become_one_in_lib(tmp_path: Path) -> None:
    shared = _shared(tmp_path)
    new = _user(tmp_path, "new.so", shared, rpath="$ORIGIN/../alpha.libs")
    old = _user(tmp_path, "old.so", shared, rpath="$ORIGIN/../beta.libs", old_rpath=True)
    payload = payload_of(
        tmp_path,
        {
            "alpha": {"alpha/new.so": new, f"alpha.libs/{_NAME}": shared},
            "beta": {"beta/old.so": old, f"beta.libs/{_NAME}": shared},
        },
    )
    edits = _plan(tmp_path, payload)
    assert removed(edits) == {f"alpha.libs/{_NAME}", f"beta.libs/{_NAME}"}
    assert [entry.distribution for entry in added(edits).values()] == ["system"]
    assert added(edits).keys() == {f"lib/{_NAME}"}
    _run(tmp_path, payload, edits, {"alpha/new.so": 42, "beta/old.so": 42})


def test_what_it_needs_beside_it_must_come_along(tmp_path: Path) -> None:
    inner_name = "libinner-1234abcd.so.1"
    inner = _shared(tmp_path, inner_name)
    middle = make_library(
        tmp_path / "build" / _NAME,
        source="int shared(void); int middle(void) { return shared(); }",
        soname=_NAME,
        needs=[inner],
        rpath="$ORIGIN",
    )
    user = make_library(
        tmp_path / "build" / "user.so",
        source="int middle(void); int answer(void) { return middle(); }",
        needs=[middle],
        rpath="$ORIGIN/../alpha.libs",
    )
    tree: dict[str, dict[str, str | bytes | Path]] = {
        "alpha": {
            "alpha/user.so": user,
            f"alpha.libs/{_NAME}": middle,
            f"alpha.libs/{inner_name}": inner,
        },
        "beta": {f"beta.libs/{_NAME}": middle},
    }
    payload = payload_of(tmp_path / "one", tree)
    edits = _plan(tmp_path, payload)
    assert removed(edits) == set()
    assert kept(edits)[f"beta.libs/{_NAME}"] == f"a copy, but it needs {inner_name} beside it"

    tree["beta"][f"beta.libs/{inner_name}"] = inner
    payload = payload_of(tmp_path / "two", tree)
    edits = _plan(tmp_path, payload)
    assert len(removed(edits)) == 4
    assert added(edits).keys() == {f"lib/{_NAME}", f"lib/{inner_name}"}
    _run(tmp_path, payload, edits, {"alpha/user.so": 21})


def test_another_library_of_the_name_forbids_lib(tmp_path: Path) -> None:
    """LD_LIBRARY_PATH comes before RUNPATH: the third wheel would get the others' library."""
    shared = _shared(tmp_path)
    other = make_library(
        tmp_path / "build" / "other" / _NAME, source="int shared(void) { return 4; }", soname=_NAME
    )
    user = _user(tmp_path, "user.so", other, rpath="$ORIGIN/../gamma.libs")
    tree = {
        "alpha": {f"alpha.libs/{_NAME}": shared},
        "beta": {f"beta.libs/{_NAME}": shared},
        "gamma": {f"gamma.libs/{_NAME}": other, "gamma/user.so": user},
    }
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()
    assert set(kept(edits).values()) == {"a copy, but another library has the same name"}


def test_what_the_runtime_has_or_code_opens_stays(tmp_path: Path) -> None:
    for name, code, why in (
        ("libm.so.6", "", "the runtime has a library of this name"),
        (_NAME, f"ctypes.CDLL('{_NAME}')", "code names it"),
        (_NAME, "glob(os.path.join(here, 'beta.libs', '*.so'))", "code names beta.libs"),
        ("libshared.so", "load('shared')", "code names it"),
    ):
        folder = tmp_path / name / str(len(code))
        shared = _shared(folder, name)
        user = _user(folder, "user.so", shared)
        tree: dict[str, dict[str, str | bytes | Path]] = {
            "alpha": {f"alpha.libs/{name}": shared, "alpha/user.so": user},
            "beta": {f"beta.libs/{name}": shared, "beta/__init__.py": code},
        }
        edits = _plan(folder, payload_of(folder, tree))
        assert removed(edits) == set()
        assert f"a copy, but {why}" in kept(edits).values()


def test_a_library_that_is_only_opened_by_path_stays(tmp_path: Path) -> None:
    shared = _shared(tmp_path)
    tree = {"alpha": {f"alpha.libs/{_NAME}": shared}, "beta": {f"beta.libs/{_NAME}": shared}}
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()


def test_a_name_in_another_librarys_strings_counts(tmp_path: Path) -> None:
    shared = _shared(tmp_path)
    user = _user(tmp_path, "user.so", shared)
    opener = make_library(
        tmp_path / "build" / "opener.so", source=f'const char *const name = "{_NAME}";'
    )
    tree = {
        "alpha": {f"alpha.libs/{_NAME}": shared, "alpha/user.so": user},
        "beta": {f"beta.libs/{_NAME}": shared, "beta/opener.so": opener},
    }
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()
    assert set(kept(edits).values()) == {"a copy, but opener.so names it"}


def test_among_names_of_one_folder_the_asked_for_stays(tmp_path: Path) -> None:
    shared = _shared(tmp_path, "libq.so.2")
    user = _user(tmp_path, "user.so", shared, rpath="$ORIGIN")
    names = ("libq.so", "libq.so.2", "libq.so.2.0.1")
    tree = {"alpha": {"alpha/user.so": user, **{f"alpha/{name}": shared for name in names}}}
    payload = payload_of(tmp_path, tree)
    edits = _plan(tmp_path, payload)
    assert removed(edits) == {"alpha/libq.so", "alpha/libq.so.2.0.1"}
    _run(tmp_path, payload, edits, {"alpha/user.so": 42})


def test_a_stack_without_copies_is_left(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {f"alpha.libs/{_NAME}": _shared(tmp_path)}})
    assert _plan(tmp_path, payload) == []
