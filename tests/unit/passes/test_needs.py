"""The cheap look at code must not miss what parsing it finds."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from layerpack.passes.code import Code
from layerpack.passes.needs import Search, word_filter
from layerpack.payload import Payload, entries_of
from tests.unit.passes.helpers import payload_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a.tests", True),
        ("from a import (\n    # a remark\n    b,\n    tests,\n)", True),
        ("from a import \\\n    tests", True),
        ("try: import tests\nexcept ImportError: pass", True),
        ("x = 'a.tests.b'", True),
        ("x = join(a, 'tests')", True),
        ("x = a / 'tests' / 'b'", True),
        ("__all__ = ['tests']", True),
        ("self.tests.run()", False),
        ("x = {'tests': 1}", False),
        ("import contests", False),
        ("# import a.tests", False),
        (">>> import a.tests", False),
        ("the import of tests", False),
    ],
)
def test_how_a_word_stands(text: str, expected: bool) -> None:
    assert word_filter(["tests"])(text.encode()) is expected


@pytest.mark.exhaustive
def test_nothing_is_missed_in_real_code() -> None:
    """numpy and pip as they are installed: the oracle parses every file."""
    site = Path(sysconfig.get_path("purelib"))
    entries = [
        entry
        for name in ("numpy", "packaging", "pip")
        for entry in entries_of(site / name, f"python/{name}", name)
        if entry.path.endswith(".py")
    ]
    payload = Payload(entries)
    words = {"tests", "command", "_private", "distro"}
    candidates = [e.path for e in payload if words.intersection(e.path.split("/"))]
    mentions = word_filter(sorted(words))
    code = Code(payload)
    quick = Search(code, candidates, words).run(lambda _, data: mentions(data))
    thorough = Search(code, candidates, words).run(lambda _, data: True)
    assert quick.keys() == thorough.keys()
    assert "python/numpy/testing/_private/utils.py" in quick
    # Some are needed and some are not, whatever versions these are.
    assert 0 < len(quick) < len(candidates)


def test_facts_leave_docstrings_out_and_resolve_relative_names(tmp_path: Path) -> None:
    source = (
        '"""A docstring."""\n'
        "from . import a\n"
        "from ..b import c as d\n"
        "import os.path\n"
        'class X:\n    """Another."""\n    y = "a string"\n'
        'z = os.path.join(here, "data", "x/y.csv")\n'
    )
    payload = payload_of(tmp_path, {"alpha": {"alpha/sub/__init__.py": source}})
    code = Code(payload)
    facts = code.facts(payload["python/alpha/sub/__init__.py"])
    assert facts.imports == {"alpha.sub", "alpha.sub.a", "alpha.b", "alpha.b.c", "os.path"}
    assert facts.strings == {"a string", "data", "x/y.csv"}
    assert facts.paths == {("data", "x", "y.csv")}
    assert code.modules == {"alpha.sub": "python/alpha/sub/__init__.py"}
