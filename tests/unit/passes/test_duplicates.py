"""Copies of libraries go where the loader finds the one that stays: the loader is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from layerpack.passes.api import Edit, Keep
from layerpack.passes.duplicates import Duplicates
from layerpack.passes.runner import applied
from layerpack.payload import Payload
from tests.support.libraries import make_library
from tests.unit.passes.helpers import added, context_in, kept, payload_of, removed, rewritten

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
    root = _built(folder, payload, edits)
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


@pytest.mark.parametrize(
    ("name", "folder", "code", "why"),
    [
        ("libm-1234abcd.so.6", "alpha.libs", "ctypes.CDLL('libm-1234abcd.so.6')", "code names"),
        (_NAME, "alpha.libs", "glob(os.path.join(here, 'beta.libs', '*.so'))", "code names"),
        ("libshared.so", "alpha.libs", "", "code may build its name"),
        (_NAME, "alpha", "", "code may list its folder"),
    ],
)
def test_a_copy_that_code_may_open_stays(
    tmp_path: Path, name: str, folder: str, code: str, why: str
) -> None:
    shared = _shared(tmp_path, name)
    user = _user(tmp_path, "user.so", shared)
    tree: dict[str, dict[str, str | bytes | Path]] = {
        "alpha": {f"{folder}/{name}": shared, "alpha/user.so": user},
        "beta": {f"beta.libs/{name}": shared, "beta/__init__.py": code},
    }
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()
    assert why in kept(edits)[f"{folder}/{name}"]


def test_a_library_that_the_runtime_has_stays(tmp_path: Path) -> None:
    """As LD_LIBRARY_PATH has the runtime's folders before /opt/lib."""
    shared = _shared(tmp_path, "libm.so.6")
    tree = {name: {f"{name}.libs/libm.so.6": shared} for name in ("alpha", "beta")}
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()
    assert "the runtime has" in kept(edits)["alpha.libs/libm.so.6"]


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


def _built(folder: Path, payload: Payload, edits: list[Edit]) -> Path:
    """The tree of the payload with the edits applied."""
    root = folder / "opt"
    shutil.rmtree(root, ignore_errors=True)
    applied(payload, edits).materialise(root)
    return root


def _python(code: str, root: Path) -> str:
    """What a process of its own prints."""
    return subprocess.run(
        [sys.executable, "-I", "-c", code, str(root / "python")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_other_names_of_one_folder_become_stand_ins(tmp_path: Path) -> None:
    shared = _shared(tmp_path, "libq.so.2")
    user = _user(tmp_path, "user.so", shared, rpath="$ORIGIN")
    names = ("libq.so", "libq.so.2", "libq.so.2.0.1")
    tree = {"alpha": {"alpha/user.so": user, **{f"alpha/{name}": shared for name in names}}}
    payload = payload_of(tmp_path, tree)
    edits = _plan(tmp_path, payload)
    assert rewritten(edits).keys() == {"alpha/libq.so", "alpha/libq.so.2.0.1"}
    assert all(file.stat().st_size < 1024 for file in rewritten(edits).values())
    _run(tmp_path, payload, edits, {"alpha/user.so": 42})


def test_a_plugin_whose_name_is_built_at_run_time_opens(tmp_path: Path) -> None:
    """`libX.so` is named nowhere: neither in code nor by another library."""
    plugin = make_library(
        tmp_path / "build" / "libfast.so.3.7",
        source="int count; int add(void) { return ++count; }",
        soname="libfast.so.3.7",
    )
    loader = "def load(name):\n    return ctypes.CDLL(HERE + '/lib' + name + '.so')\n"
    tree: dict[str, dict[str, str | bytes | Path]] = {
        "alpha": {
            "alpha/__init__.py": loader,
            "alpha/libfast.so": plugin,
            "alpha/libfast.so.3.7": plugin,
        }
    }
    payload = payload_of(tmp_path, tree)
    root = _built(tmp_path, payload, _plan(tmp_path, payload))
    code = (
        "import ctypes, sys\n"
        "add = ctypes.CDLL(sys.argv[1] + '/alpha/libfast.so').add\n"
        "other = ctypes.CDLL(sys.argv[1] + '/alpha/libfast.so.3.7').add\n"
        "print(add(), other(), add())"
    )
    # Whatever name they are opened by, both are one library with one counter.
    assert _python(code, root) == "1 2 3"


def test_a_stand_in_loads_its_own_neighbour(tmp_path: Path) -> None:
    """Though another library with the same soname is loaded already."""
    mine, other = (
        make_library(
            tmp_path / folder / "libq.so.1",
            source=f"int which(void) {{ return {number}; }}",
            soname="libq.so.1",
        )
        for number, folder in enumerate(("mine", "other"))
    )
    tree = {
        "alpha": {"alpha/libq.so": mine, "alpha/libq.so.1": mine},
        "beta": {"beta/libq.so.1": other},
    }
    payload = payload_of(tmp_path, tree)
    root = _built(tmp_path, payload, _plan(tmp_path, payload))
    code = (
        "import ctypes, sys\n"
        "print([ctypes.CDLL(sys.argv[1] + path).which() "
        "for path in ('/beta/libq.so.1', '/alpha/libq.so')])"
    )
    assert _python(code, root) == "[1, 0]"


def test_an_extension_module_is_imported_through_its_stand_in(tmp_path: Path) -> None:
    source = """
        #include <Python.h>
        static struct PyModuleDef about = {PyModuleDef_HEAD_INIT, "speed", 0, -1, 0};
        PyMODINIT_FUNC PyInit_speed(void) { return PyModule_Create(&about); }
        """
    built = tmp_path / "build" / "libspeed.so.1"
    built.parent.mkdir()
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "-x", "c", "-"),
            *("-Wl,-soname,libspeed.so.1", "-o", str(built)),
        ],
        input=source,
        text=True,
        check=True,
    )
    payload = payload_of(tmp_path, {"alpha": {"speed.so": built, "libspeed.so.1": built}})
    edits = _plan(tmp_path, payload)
    assert rewritten(edits).keys() == {"speed.so"}
    root = _built(tmp_path, payload, edits)
    code = "import sys; sys.path.append(sys.argv[1]); import speed; print(speed.__file__)"
    assert _python(code, root) == str(root / "python" / "speed.so")


def test_a_name_that_libraries_need_stays_a_copy(tmp_path: Path) -> None:
    shared = _shared(tmp_path, "libq.so.2")
    unnamed = make_library(
        tmp_path / "build" / "libq.so", source="int shared(void) { return 21; }", soname="libq.so"
    )
    user = _user(tmp_path, "user.so", unnamed, rpath="$ORIGIN")
    tree = {"alpha": {"alpha/user.so": user, "alpha/libq.so": shared, "alpha/libq.so.2": shared}}
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert set(kept(edits)) == {"alpha/libq.so"}
    assert rewritten(edits) == {}


def test_copies_whose_names_code_may_build_stay(tmp_path: Path) -> None:
    """Only a name with a hash in it cannot be built."""
    shared = _shared(tmp_path, "libq.so.2")
    user = _user(tmp_path, "user.so", shared, rpath="$ORIGIN")
    tree = {
        "alpha": {"alpha/user.so": user, "alpha/libq.so.2": shared},
        "beta": {"beta/user.so": user, "beta/libq.so.2": shared},
    }
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert {edit.path for edit in edits if not isinstance(edit, Keep)} == set()
    assert kept(edits).keys() >= {"alpha/libq.so.2", "beta/libq.so.2"}


def test_code_that_builds_the_name_of_its_folder_keeps_it(tmp_path: Path) -> None:
    shared = _shared(tmp_path)
    user = _user(tmp_path, "user.so", shared, rpath="$ORIGIN/../alpha.libs")
    code = "def preload(name):\n    return sorted(HERE.parent.joinpath(f'{name}.libs').iterdir())\n"
    tree: dict[str, dict[str, str | bytes | Path]] = {
        "alpha": {"alpha/user.so": user, f"alpha.libs/{_NAME}": shared, "alpha/__init__.py": code},
        "beta": {f"beta.libs/{_NAME}": shared},
    }
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert removed(edits) == set()


def test_a_stack_without_copies_is_left(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {f"alpha.libs/{_NAME}": _shared(tmp_path)}})
    assert _plan(tmp_path, payload) == []
