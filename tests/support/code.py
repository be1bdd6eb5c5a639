"""Libraries with much code, compiled on the spot: enough to be worth storing compressed."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

from tests.support.compilers import Language, compile_source, compiler_for
from tests.support.recipes import HERE
from tests.support.wheels import make_wheel

#: What `answer()` gives, having run all code of its library.
ANSWER = 42
#: The extension module of `code_wheel` below site-packages, and the path in the layers.
CODE_NAME: Final = f"alpha/_code{sysconfig.get_config_var('EXT_SUFFIX')}"
CODE_PATH: Final = f"python/{CODE_NAME}"
_MODULE = """
#include <Python.h>
static PyObject *run(PyObject *self, PyObject *none) { return PyLong_FromLong(answer()); }
static PyMethodDef methods[] = {{"run", run, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_code", "", -1, methods};
PyMODINIT_FUNC PyInit__code(void) { return PyModule_Create(&module); }
"""


def many_functions(count: int = 90) -> str:
    """C source of `count` large functions, all called by `answer()`: some kB of code each."""
    bodies = "\n".join(
        f"__attribute__((noinline)) int part{n}(int x) {{\n"
        + "".join(
            f"    x = (x ^ {k * n + 3}) * {k + 5} + (x >> {k % 13 + 1});\n" for k in range(150)
        )
        + "    return x;\n}"
        for n in range(count)
    )
    calls = " + ".join(f"part{n}(zero) * zero" for n in range(count))
    return f"{bodies}\nint zero;\nint answer(void) {{ return {ANSWER} + {calls}; }}\n"


def mangled_functions(count: int = 1500, *, space: str = "payload") -> str:
    """C++ source with `count` exported functions of long names, all called by `answer()`."""
    bodies = "\n".join(
        f"__attribute__((noinline)) int a_function_with_a_rather_long_name_{n}"
        f"(int x, const char *) {{ return x * {n} % {n + 2}; }}"
        for n in range(count)
    )
    calls = "\n".join(
        f"    sum += {space}::a_function_with_a_rather_long_name_{n}(0, nullptr);"
        for n in range(count)
    )
    return (
        f"namespace {space} {{\n{bodies}\n}}\n"
        f'extern "C" int answer() {{\n    int sum = {ANSWER};\n{calls}\n    return sum;\n}}\n'
    )


def compiled(
    path: Path,
    source: str,
    *options: str,
    language: Language = "c",
    machine: str = "",
    stripped: bool = True,
) -> Path:
    """Compile `source` to the library `path`.

    `machine` is one of the compilers' `MACHINES`: gcc's for this one, and for C++ zig's, unless
    told.
    """
    machine = machine or ("x86_64" if language == "c" else "x86_64 zig")
    command = [*compiler_for(machine, language), "-shared", "-fPIC", "-O0"]
    return compile_source(
        path, [*command, *(["-s"] if stripped else [])], source, *options, language=language
    )


def code_wheel(folder: Path, version: str = "1.0", *, count: int = 150, more: str = "") -> Path:
    """A wheel of alpha for this Python: an extension module of much code, whose `run()` runs it,
    and of `more` C code."""
    library = compiled(
        folder / "code.so",
        many_functions(count) + more + _MODULE,
        f"-I{sysconfig.get_path('include')}",
    )
    python = f"cp{HERE.removeprefix('python').replace('.', '')}"
    return make_wheel(
        folder,
        "alpha",
        version,
        tag=f"{python}-{python}-manylinux_2_17_x86_64",
        files={"alpha/__init__.py": "", CODE_NAME: library.read_bytes()},
    )
