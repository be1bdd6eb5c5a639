"""Documentation goes; what only has its name stays."""

from __future__ import annotations

from pathlib import Path

from layerpack.passes.docs import Docs
from tests.unit.passes.helpers import context_in, kept, payload_of, removed


def test_folders_and_readmes_go(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "",
                "alpha/docs/index.rst": "",
                "alpha/docs/conf.py": "",
                "alpha/examples/run.py": "",
                "alpha/README.md": "",
                "alpha/CHANGELOG": "",
                "alpha/history.py": "",
                "alpha/templates/page.html": "",
                "alpha/templates/mail.rst": "",
                "alpha/docs/LICENSE": "",
                "alpha/AUTHORS.md": "",
                "alpha-1.0.dist-info/README.md": "",
            }
        },
    )
    edits = list(Docs().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {
        "alpha/docs/index.rst",
        "alpha/docs/conf.py",
        "alpha/examples/run.py",
        "alpha/README.md",
        "alpha/CHANGELOG",
    }
    assert kept(edits) == {}


def test_data_that_is_called_as_documentation_is_stays(tmp_path: Path) -> None:
    """As NLTK's and gensim's corpora: in small letters, or further down."""
    tree = {
        "alpha": {
            "alpha/__init__.py": "",
            "alpha/news.txt": "",
            "alpha/data/NEWS.txt": "",
            "alpha/data/README": "",
            "alpha/NEWS.txt": "",
            "README.rst": "",
        }
    }
    edits = list(Docs().plan(payload_of(tmp_path, tree), context_in(tmp_path)))
    assert removed(edits) == {"alpha/NEWS.txt", "README.rst"}


def test_documentation_that_is_code_stays(tmp_path: Path) -> None:
    """As botocore.docs, which botocore itself imports."""
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "from alpha.docs.docstring import Docstring",
                "alpha/docs/__init__.py": "",
                "alpha/docs/docstring.py": "from . import bcdoc",
                "alpha/docs/bcdoc.py": "",
                "alpha/docs/unused.py": "",
            }
        },
    )
    edits = list(Docs().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {"alpha/docs/unused.py"}
    assert "alpha/docs/docstring.py imports it" in kept(edits)["alpha/docs/bcdoc.py"]


def test_a_readme_that_its_package_reads_stays(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path,
        {
            "alpha": {"alpha/__init__.py": "open('README.md')", "alpha/README.md": ""},
            "beta": {"beta/__init__.py": "", "beta/README.md": ""},
        },
    )
    edits = list(Docs().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {"beta/README.md"}
    assert kept(edits) == {"alpha/README.md": "documentation, but alpha/__init__.py names it"}
