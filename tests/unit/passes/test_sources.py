"""What only compilers read goes; what code reads stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.passes.sources import Sources
from tests.unit.passes.helpers import context_in, kept, payload_of, removed


def test_stubs_headers_sources_and_archives_go(tmp_path: Path) -> None:
    names = ["x.pyi", "x.h", "x.hpp", "x.c", "x.cpp", "x.cu", "x.pyx", "x.pxd", "x.f90", "libx.a"]
    files = {f"alpha/{name}": "" for name in (*names, "py.typed", "x.py", "x.js", "x.hdf", "x.so")}
    edits = list(Sources().plan(payload_of(tmp_path, {"alpha": files}), context_in(tmp_path)))
    assert removed(edits) == {f"alpha/{name}" for name in (*names, "py.typed")}


@pytest.mark.parametrize(
    "code",
    [
        "SOURCE = (Path(__file__).parent / 'kernels.cu').read_text()",
        "import pkgutil\nSOURCE = pkgutil.get_data('alpha', 'gpu/kernels.cu')",
        "def find(folder):\n    return sorted(folder.glob('*.cu'))",
        "def find(folder):\n    return [n for n in os.listdir(folder) if n.endswith('.cu')]",
    ],
)
def test_what_code_names_or_lists_stays(tmp_path: Path, code: str) -> None:
    files = {"alpha/__init__.py": code, "alpha/gpu/kernels.cu": "", "alpha/x.h": ""}
    other = {"beta/kernels.cu": ""}
    payload = payload_of(tmp_path, {"alpha": files, "beta": other})
    edits = list(Sources().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {"alpha/x.h", "beta/kernels.cu"}
    assert "alpha/__init__.py" in kept(edits)["alpha/gpu/kernels.cu"]


@pytest.mark.parametrize(
    "code",
    [
        '"""The kernels are in kernels.cu, read by open()."""',
        "LANGUAGES = {'CUDA': '.cu'}",
        "from setuptools import Extension\nE = Extension('x', ['kernels.cu'])",
    ],
)
def test_other_mentions_keep_nothing(tmp_path: Path, code: str) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.py": code, "alpha/kernels.cu": ""}})
    assert removed(Sources().plan(payload, context_in(tmp_path))) == {"alpha/kernels.cu"}


def test_what_a_kept_source_includes_stays(tmp_path: Path) -> None:
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": "open('main.c')",
                "alpha/main.c": '#include "inner/a.h"\n#include <stdio.h>\n',
                "alpha/inner/a.h": '# include "b.h"',
                "alpha/inner/b.h": "",
                "alpha/inner/c.h": "",
            }
        },
    )
    assert removed(Sources().plan(payload, context_in(tmp_path))) == {"alpha/inner/c.h"}


def test_a_stub_that_is_loaded_lazily_stays(tmp_path: Path) -> None:
    lazy = (
        "import lazy_loader\n"
        "__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)\n"
    )
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                "alpha/__init__.py": lazy,
                "alpha/__init__.pyi": "from .a import f",
                "alpha/a.pyi": "",
            }
        },
    )
    edits = list(Sources().plan(payload, context_in(tmp_path)))
    assert removed(edits) == {"alpha/a.pyi"}
    assert kept(edits) == {"alpha/__init__.pyi": "type stub, but alpha/__init__.py loads it lazily"}
