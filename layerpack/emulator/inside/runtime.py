"""Runs inside a sandbox, as Lambda's own bootstrap does: sets sys.path, and runs AWS's client.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.10 or later. Called as
`python -S runtime.py TASK SITE PYTHON RUNTIME`: the folders of the function, of the layers'
distributions (both of them) and of AWS's client.
"""

from __future__ import annotations

import os
import site
import sys


def main(task: str, distributions: str, python: str, runtime: str) -> None:
    """Set sys.path as AWS's documentation has it ("Search path for Python runtimes"), and serve."""
    # This script's own folder.
    del sys.path[0]
    sys.path.append(runtime)
    # Lambda gives the layers' folders through PYTHONPATH: who sets it, sets them.
    layers = [] if "PYTHONPATH" in os.environ else [distributions, python]
    sys.path[:0] = [task, *layers]
    if layers and os.path.isdir(distributions):  # noqa: PTH112 (pathlib takes time to import)
        # As a folder of the interpreter's it may hold .pth files, which run.
        site.addsitedir(distributions)
    # Without the interpreter's own distributions (`-S`), but with the names that it has with them.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.argv = ["bootstrap", os.environ["_HANDLER"]]
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 (found on the path set above)

    serve(sys.argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
