"""Shipped bytecode goes, unless it is the module."""

from __future__ import annotations

from pathlib import Path

from layerpack.passes.bytecode import Bytecode
from tests.unit.passes.helpers import context_in, kept, payload_of, removed


def test_bytecode_goes_where_the_source_is(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "",
                "alpha/__init__.pyc": b"x",
                "alpha/old.pyo": b"x",
                "alpha/secret.pyc": b"x",
                "alpha/__pycache__/__init__.cpython-312.pyc": b"x",
            }
        },
    )
    edits = list(Bytecode().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {
        "alpha/__init__.pyc",
        "alpha/old.pyo",
        "alpha/__pycache__/__init__.cpython-312.pyc",
    }
    assert kept(edits) == {"alpha/secret.pyc": "a module without source"}


def test_assets_are_not_touched(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"asset:model": {"x.py": "", "x.pyc": b"x"}}, "assets/model/")
    assert list(Bytecode().plan(payload, context_in(tmp_path))) == []
