"""What `-X importtime` prints, as a tree of packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from layerpack.import_times import ImportTime, import_tree

TEXT = """\
START RequestId: 1
import time: self [us] | cumulative | imported package
import time:       100 |        100 |     numpy.core
import time:       500 |        600 |   numpy
import time:       300 |        300 |       numpy.random
import time:       200 |        500 |     thinc.util
import time:       100 |        600 |   thinc
import time:        10 |         10 |   tiny
import time:        90 |       1300 | app
not import time: 1 | 2 | x
import time:       700 |        700 | later
"""


def test_a_package_stands_below_the_one_that_imported_it_first() -> None:
    assert import_tree(TEXT) == (
        ImportTime(name="app", depth=0, milliseconds=1.3),
        ImportTime(name="numpy", depth=1, milliseconds=0.6),
        ImportTime(name="thinc", depth=1, milliseconds=0.6),
        # Below a module of thinc's own, which is no line of its own.
        ImportTime(name="numpy", depth=2, milliseconds=0.3),
        ImportTime(name="later", depth=0, milliseconds=0.7),
    )


def test_the_functions_own_module_is_no_line() -> None:
    assert [(one.name, one.depth) for one in import_tree(TEXT, "app")] == [
        ("later", 0),
        ("numpy", 0),
        ("thinc", 0),
        ("numpy", 1),
    ]


def test_what_the_runtimes_client_imports_is_left_out() -> None:
    client = """\
import time:       100 |      90000 | encodings
import time:       100 |      50000 |     simplejson
import time:       500 |      60000 |   awslambdaric.bootstrap
import time:       500 |      70000 | awslambdaric.__main__
import time:       382 |      20000 | awslambdaric.lambda_literals
"""
    assert import_tree(client, "app") == ()
    assert import_tree(client + TEXT, "app") == import_tree(TEXT, "app")
    # An environment that begins anew prints all again.
    assert import_tree(client + TEXT + client + TEXT, "app") == import_tree(TEXT, "app")


def test_nothing_printed_is_no_tree() -> None:
    assert import_tree("") == ()


def test_python_prints_it_so(tmp_path: Path) -> None:
    for name, body in (("outer", "import inner.part"), ("inner/part", "sum(range(10**6))")):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(body)
    command = [sys.executable, "-S", "-X", "importtime", "-c", "import outer"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = {one.name: one for one in import_tree(ended.stderr)}
    assert (found["outer"].depth, found["inner"].depth) == (0, 1)
    assert found["outer"].milliseconds >= found["inner"].milliseconds > 0
