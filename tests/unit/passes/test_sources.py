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


def test_include_folders_hold_headers_whatever_their_names(tmp_path: Path) -> None:
    headers = ["x.h", "x.inc", "x.def", "x.td", "x.inl", "x.proto", "Eigen/Core", "Eigen/x.ipp"]
    others = ["LICENSE", "Eigen/COPYING", "x.json", "x.py"]
    templates = {"alpha/theme/include/head.inc": "<head>", "alpha/theme/include/foot": ""}
    payload = payload_of(
        tmp_path,
        {
            "alpha": {
                **{f"alpha/include/{name}": "" for name in (*headers, *others)},
                **templates,
                "alpha/x.inc": "",
            }
        },
    )
    gone = removed(Sources().plan(payload, context_in(tmp_path)))
    assert gone == {f"alpha/include/{name}" for name in headers}


@pytest.mark.parametrize(
    ("main", "stay"),
    [
        ('#include "deep/a.h"', {"deep/a.h"}),
        ("#include <deep/a.h>", {"deep/a.h"}),
        ('#include "b.h"', {"b.h"}),
        ("#include <q/a.h>", {"include/q/a.h"}),
        ("#include <a.h>", set()),
        ('#include "deep/../b.h"', {"b.h"}),
        # By its own folder first, then by the include folders.
        ('#include "c.h"', {"c.h"}),
        ("#include <d.h>", {"include/d.h"}),
        # What is included includes in its turn.
        ('#include "e.h"', {"e.h", "deep/f.h"}),
    ],
)
def test_includes_are_resolved_by_path(tmp_path: Path, main: str, stay: set[str]) -> None:
    headers = dict.fromkeys(("deep/a.h", "b.h", "other/b.h", "c.h", "include/c.h"), "")
    headers |= dict.fromkeys(("include/q/a.h", "include/s/a.h", "include/d.h", "deep/f.h"), "")
    headers["e.h"] = "# include 'deep/f.h'"
    files = {"__init__.py": "open('main.c')", "main.c": main, **headers}
    payload = payload_of(tmp_path, {"alpha": {f"alpha/{k}": text for k, text in files.items()}})
    gone = removed(Sources().plan(payload, context_in(tmp_path)))
    assert gone == {f"alpha/{name}" for name in headers.keys() - stay}


_READS = "ffi.cdef(open(os.path.join(HERE, 'include', 'alpha', 'api.h')).read())"


@pytest.mark.parametrize(
    "code",
    [
        _READS,
        "HEADER = HERE / 'include/alpha/api.h'\ndef load():\n    return HEADER.read_text()",
        "TEXT = pkgutil.get_data('alpha', 'include/alpha/api.h')",
        "def load():\n    return [p.read_text() for p in (HERE / 'include').rglob('*.h')]",
    ],
)
def test_a_header_that_code_reads_stays(tmp_path: Path, code: str) -> None:
    files = {"alpha/__init__.py": code, "alpha/include/alpha/api.h": '#include "inner.h"'}
    files |= {"alpha/include/alpha/inner.h": "", "alpha/include/beta/inner.h": ""}
    edits = list(Sources().plan(payload_of(tmp_path, {"alpha": files}), context_in(tmp_path)))
    assert {"alpha/include/alpha/api.h", "alpha/include/alpha/inner.h"} <= kept(edits).keys()


@pytest.mark.parametrize(
    "code",
    [
        # Whether the folder is the one to give to a compiler.
        "if not os.path.exists(join(base, 'alpha', 'api.h')):\n    error(open('log').read())\n"
        "INC = f'-I{base}'",
        "FOUND = os.path.isfile(join(get_include(), 'alpha', 'api.h'))",
        # Source text for a compiler.
        "def write(path):\n    open(path, 'w').write('#include <alpha/api.h>\\n' + open(X).read())",
        # A search through a project's sources, headers among them.
        "def convert(folder):\n    for path in os.walk(folder):\n"
        "        if path.endswith(('.cu', '.h')):\n            yield open(path).read()",
        "def flags():\n    open(CACHE)\n    return [*('g++', '-shared'), 'alpha/api.h']",
    ],
)
def test_a_header_that_only_compilers_read_goes(tmp_path: Path, code: str) -> None:
    files = {"alpha/tool.py": code, "alpha/include/alpha/api.h": ""}
    edits = Sources().plan(payload_of(tmp_path, {"alpha": files}), context_in(tmp_path))
    assert removed(edits) == {"alpha/include/alpha/api.h"}
