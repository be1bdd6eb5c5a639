"""Libraries for the tests of passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.code import compiled, mangled_functions, many_functions


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of C with much code."""
    return compiled(tmp_path_factory.mktemp("large") / "large.so", many_functions())


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of C++ that exports much, and of which nobody knows."""
    folder = tmp_path_factory.mktemp("exporting")
    return compiled(folder / "exporting.so", mangled_functions(), language="c++")
