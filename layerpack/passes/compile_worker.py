"""Compile modules to unchecked bytecode. Run by the target's interpreter, Python 3.9 or later.

`python compile_worker.py JOBS`: a JSON list of [source, file name at run time, output]. Prints
`{"failed": {source: message}}`. Imports nothing of layerpack, and is imported by nothing.
"""

import sys

# The folder of this script, whose modules would hide the standard library's.
del sys.path[0]

import json  # noqa: E402
import py_compile  # noqa: E402
import warnings  # noqa: E402


def main(jobs_file: str) -> None:
    """Compile the jobs of a file, in its order."""
    warnings.simplefilter("ignore")
    with open(jobs_file, encoding="utf-8") as stream:  # noqa: PTH123
        jobs = json.load(stream)
    failed = {}
    for source, name, output in jobs:
        try:
            py_compile.compile(
                source,
                cfile=output,
                dfile=name,
                doraise=True,
                optimize=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError as error:
            failed[source] = str(error.exc_value)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
            failed[source] = str(error)
    json.dump({"failed": failed}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
