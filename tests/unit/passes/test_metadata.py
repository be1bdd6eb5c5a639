"""Metadata: what installers wrote goes, and importlib.metadata goes on working."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from layerpack.passes.api import Add, Edit, Remove
from layerpack.passes.metadata import Metadata, licence_files
from layerpack.payload import Payload
from tests.unit.passes.helpers import added, context_in, kept, payload_of, removed

_INFO = "alpha-1.0.dist-info"
_ALPHA = {
    "alpha/__init__.py": "",
    "single.py": "",
    "alpha.libs/libz.so": "",
    f"{_INFO}/METADATA": (
        "Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\nRequires-Dist: beta>=2\n"
    ),
    f"{_INFO}/entry_points.txt": "[console_scripts]\nalpha = alpha:main\n[group]\nx = alpha:y\n",
    f"{_INFO}/RECORD": (
        "alpha/__init__.py,,\nsingle.py,,\nalpha.libs/libz.so,,\n"
        f"{_INFO}/METADATA,,\n../bin/alpha,,\n"
    ),
    f"{_INFO}/WHEEL": "Wheel-Version: 1.0\n",
    f"{_INFO}/INSTALLER": "uv\n",
    f"{_INFO}/REQUESTED": "",
    f"{_INFO}/direct_url.json": "{}",
    f"{_INFO}/pbr.json": "{}",
    f"{_INFO}/sboms/a.cdx.json": "{}",
    f"{_INFO}/licenses/LICENSE": "MIT",
    f"{_INFO}/licenses/vendor/anything": "BSD",
    f"{_INFO}/NOTICE.txt": "notice",
    "bin/alpha": "#!/usr/bin/python3\n",
}


def _plan(folder: Path, payload: Payload) -> list[Edit]:
    return list(Metadata().plan(payload, context_in(folder)))


def _applied(payload: Payload, edits: list[Edit]) -> Payload:
    return payload.updated(
        add=[edit.entry for edit in edits if isinstance(edit, Add)],
        remove=[edit.path for edit in edits if isinstance(edit, Remove)],
    )


def _ask(root: Path, code: str) -> object:
    """What importlib.metadata answers for a tree; `m` is the module."""
    program = (
        "import sys, json, importlib.metadata as m; sys.path[:] = [sys.argv[1], *sys.path[1:]]; "
        f"print(json.dumps({code}))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(root / "python")]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_only_what_installers_wrote_goes(tmp_path: Path) -> None:
    edits = _plan(tmp_path, payload_of(tmp_path, {"alpha": _ALPHA}))
    assert removed(edits) == {
        *(f"{_INFO}/{name}" for name in ("RECORD", "WHEEL", "INSTALLER", "REQUESTED")),
        *(f"{_INFO}/{name}" for name in ("direct_url.json", "sboms/a.cdx.json", "NOTICE.txt")),
        *(f"{_INFO}/licenses/{name}" for name in ("LICENSE", "vendor/anything")),
        "bin/alpha",
    }
    assert added(edits).keys() == {f"{_INFO}/top_level.txt"}
    reasons = {edit.path: edit.reason for edit in edits}
    assert reasons[f"python/{_INFO}/licenses/LICENSE"] == "goes to licenses/"


def test_importlib_metadata_answers_the_same(tmp_path: Path) -> None:
    before = payload_of(tmp_path / "in", {"alpha": _ALPHA})
    after = _applied(before, _plan(tmp_path, before))
    for payload, name in ((before, "before"), (after, "after")):
        payload.materialise(tmp_path / name)
    for code in (
        "m.version('alpha')",
        "m.requires('alpha')",
        "[(e.name, e.value) for e in m.entry_points(group='group')]",
        "{k: sorted(set(v)) for k, v in m.packages_distributions().items()}",
    ):
        answers = [_ask(tmp_path / name, code) for name in ("before", "after")]
        assert answers[0] == answers[1]
        assert answers[0], code
    assert _ask(tmp_path / "after", "m.files('alpha')") is None


def test_an_existing_top_level_is_left(tmp_path: Path) -> None:
    files = {**_ALPHA, f"{_INFO}/top_level.txt": "alpha\n"}
    edits = _plan(tmp_path, payload_of(tmp_path, {"alpha": files}))
    assert added(edits) == {}
    assert f"{_INFO}/top_level.txt" not in removed(edits)


def test_what_code_reads_stays(tmp_path: Path) -> None:
    reader = (
        "import importlib.metadata as m\nD = m.distribution('alpha').read_text('direct_url.json')"
    )
    lister = "from importlib import metadata\nF = metadata.files('alpha')"
    lexer = "WORDS = ['RECORD', 'WHEEL']"
    tree = {"alpha": _ALPHA, "beta": {"r.py": reader, "l.py": lister, "x.py": lexer}}
    edits = _plan(tmp_path, payload_of(tmp_path, tree))
    assert kept(edits) == {
        f"{_INFO}/direct_url.json": "r.py names it",
        f"{_INFO}/RECORD": "l.py names it",
    }
    assert f"{_INFO}/WHEEL" in removed(edits)
    assert added(edits) == {}


def test_egg_info_keeps_what_answers(tmp_path: Path) -> None:
    egg = "alpha.egg-info"
    names = ("PKG-INFO", "requires.txt", "SOURCES.txt", "not-zip-safe", "top_level.txt")
    files = {f"{egg}/{name}": "" for name in names}
    edits = _plan(tmp_path, payload_of(tmp_path, {"alpha": files}))
    assert removed(edits) == {f"{egg}/SOURCES.txt", f"{egg}/not-zip-safe"}


def test_programs_and_packages_named_bin_stay(tmp_path: Path) -> None:
    files = {"bin/tool": "\x7fELF", "bin/run": "#!python\n", "alpha/bin/x": "#!/bin/sh\n"}
    edits = _plan(tmp_path, payload_of(tmp_path, {"alpha": files}))
    assert removed(edits) == {"bin/run"}
    assert kept(edits) == {"bin/tool": "a program that its package may look for"}
    package = {"alpha": {"bin/__init__.py": "", "bin/run": "#!python\n"}}
    assert _plan(tmp_path, payload_of(tmp_path / "package", package)) == []


def test_licence_files_are_those_that_go(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path,
        {
            "alpha": _ALPHA,
            "beta": {
                "beta-2.dist-info/LICENCE.rst": "",
                "beta-2.dist-info/COPYING": "",
                "beta-2.dist-info/AUTHORS": "",
                "beta-2.dist-info/METADATA": "",
                "beta/LICENSE": "",
            },
        },
    )
    found = {
        name: [entry.path.partition(".dist-info/")[2] for entry in entries]
        for name, entries in licence_files(payload).items()
    }
    assert found == {
        "alpha": ["NOTICE.txt", "licenses/LICENSE", "licenses/vendor/anything"],
        "beta": ["AUTHORS", "COPYING", "LICENCE.rst"],
    }
    gone = removed(_plan(tmp_path, payload))
    for entries in licence_files(payload).values():
        assert {entry.path.removeprefix("python/") for entry in entries} <= gone
