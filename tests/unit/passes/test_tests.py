"""Test suites go, but for what other code needs of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.passes import tests as module
from layerpack.passes.api import Edit
from layerpack.payload import FileEntry
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of, removed


def _plan(folder: Path, tree: Tree, **options: object) -> list[Edit]:
    payload = payload_of(folder, tree)
    return list(module.Tests().plan(payload, context_in(folder, **options)))  # type: ignore[arg-type]


def test_suites_go_and_what_only_sounds_like_them_stays(tmp_path: Path) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "",
                "alpha/conftest.py": "",
                "alpha/testing/__init__.py": "",
                "alpha/test_utils.py": "",
                "alpha/tests/__init__.py": "",
                "alpha/tests/data/x.csv": "1,2",
                "alpha/sub/test/test_a.py": "from alpha.tests import x",
                "tests/test_top.py": "",
                "alpha-1.0.dist-info/tests/x": "",
            }
        },
    )
    assert removed(edits) == {
        "alpha/conftest.py",
        "alpha/tests/__init__.py",
        "alpha/tests/data/x.csv",
        "alpha/sub/test/test_a.py",
        "tests/test_top.py",
    }
    assert kept(edits) == {}


@pytest.mark.parametrize(
    "code",
    [
        "import alpha.tests.helpers",
        "from alpha.tests import helpers",
        "from alpha.tests.helpers import check",
        "from .tests import helpers",
        "from . import tests\nfrom .tests.helpers import x",
        "def run():\n    from .tests import (\n        other,\n        helpers,\n    )\n",
        "if 1: from alpha.tests import helpers",
        "import importlib\nimportlib.import_module('alpha.tests.helpers')",
        "import importlib\nimportlib.import_module('.tests.helpers', __name__)",
        "ENTRY = 'alpha.tests.helpers:check'",
    ],
)
def test_what_code_imports_stays_with_its_importer(tmp_path: Path, code: str) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": code,
                "alpha/tests/__init__.py": "",
                "alpha/tests/helpers.py": "",
                "alpha/tests/test_x.py": "from alpha.tests import helpers",
            }
        },
    )
    assert removed(edits) == {"alpha/tests/test_x.py"}
    assert kept(edits).keys() == {"alpha/tests/__init__.py", "alpha/tests/helpers.py"}
    assert "alpha/__init__.py" in kept(edits)["alpha/tests/helpers.py"]


def test_what_kept_tests_need_is_kept_too(tmp_path: Path) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "",
                "alpha/tests/__init__.py": "from .deep import base",
                "alpha/tests/helpers.py": "DATA = 'tables/x.csv'",
                "alpha/tests/tables/x.csv": "1",
                "alpha/tests/images/y.png": "2",
                "alpha/tests/deep/__init__.py": "",
                "alpha/tests/deep/base.py": "from ...sub.tests import z",
                "alpha/sub/__init__.py": "",
                "alpha/sub/tests/__init__.py": "",
                "alpha/sub/tests/z.py": "",
                "alpha/sub/tests/other.py": "",
            },
            "beta": {"beta.py": "from alpha.tests.helpers import x"},
        },
    )
    assert removed(edits) == {"alpha/tests/images/y.png", "alpha/sub/tests/other.py"}
    assert "beta.py" in kept(edits)["alpha/tests/helpers.py"]
    assert "alpha/tests/deep/base.py" in kept(edits)["alpha/sub/tests/z.py"]
    assert "alpha/tests/helpers.py" in kept(edits)["alpha/tests/tables/x.csv"]


@pytest.mark.parametrize(
    "code",
    [
        "import os\nF = os.path.join(os.path.dirname(__file__), 'tests', 'data', 'x.csv')",
        "from pathlib import Path\nF = Path(__file__).parent / 'tests' / 'data' / 'x.csv'",
        "base = Path(__file__).parent / 'tests'\nF = base / 'data' / 'x.csv'",
        "F = 'alpha/tests/data/x.csv'",
        "from importlib import resources\nF = resources.files('alpha.tests.data')",
    ],
)
def test_data_that_code_names_stays(tmp_path: Path, code: str) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": code,
                "alpha/tests/data/x.csv": "1",
                "alpha/tests/other/y.csv": "1",
            }
        },
    )
    assert kept(edits).keys() == {"alpha/tests/data/x.csv"}
    assert removed(edits) == {"alpha/tests/other/y.csv"}


@pytest.mark.parametrize(
    "code",
    [
        '"""See alpha.tests.helpers, or run `from alpha.tests import helpers`."""',
        "# from alpha.tests import helpers",
        "SPLITS = ['train', 'test', 'tests']",
        "def test():\n    import pytest\n    pytest.main(['--pyargs', 'alpha.tests'])",
        "from other.tests import helpers",
        "(((",
    ],
)
def test_mentions_that_import_nothing_keep_nothing(tmp_path: Path, code: str) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": code,
                "alpha/tests/helpers.py": "",
                "alpha/tests/data/x.csv": "",
            }
        },
    )
    assert removed(edits) == {"alpha/tests/helpers.py", "alpha/tests/data/x.csv"}


def test_a_name_in_all_is_an_import(tmp_path: Path) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "__all__ = [\n    'core',\n    'tests',\n]\n",
                "alpha/tests/__init__.py": "",
            }
        },
    )
    assert kept(edits).keys() == {"alpha/tests/__init__.py"}


def test_entry_points_and_compiled_modules_count(tmp_path: Path) -> None:
    edits = _plan(
        tmp_path,
        {
            "alpha": {
                "alpha/core.pyx": "cimport numpy\nfrom alpha.tests cimport fast\n",
                "alpha/tests/fast.py": "",
                "alpha/tests/plugin.py": "",
                "alpha/tests/rest.py": "",
                "alpha-1.0.dist-info/entry_points.txt": "[pytest11]\na = alpha.tests.plugin:main\n",
            }
        },
    )
    assert removed(edits) == {"alpha/tests/rest.py"}


def test_what_the_function_imports_stays(tmp_path: Path) -> None:
    handler = tmp_path / "app.py"
    handler.write_text("from alpha.test import client\n")
    tree = {
        "alpha": {"alpha/test/__init__.py": "", "alpha/test/client.py": "", "alpha/test/x.py": ""}
    }
    context = replace(context_in(tmp_path), function=(FileEntry.of(handler, "app.py", "function"),))
    edits = list(module.Tests().plan(payload_of(tmp_path, tree), context))
    assert removed(edits) == {"alpha/test/x.py"}
    assert kept(edits)["alpha/test/client.py"] == "test suite, but the function imports it"


def test_it_is_wanted_unless_the_recipe_says_no(tmp_path: Path) -> None:
    assert module.Tests().wanted(context_in(tmp_path / "a").recipe)
    assert not module.Tests().wanted(context_in(tmp_path / "b", "tests: false").recipe)
