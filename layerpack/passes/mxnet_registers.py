"""MXNet's two register.py, and how they are made to take functions that were made before.

Each makes a Python function for every operator, with `_make_ndarray_function` or
`_make_symbol_function`. What is around that stays MXNet's own: which operators there are, where
their functions go, and what they are called there.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

#: mxnet/KIND/register.py makes the functions of a kind.
KINDS: Final = ("ndarray", "symbol")
#: The function that goes into them.
INSIDE: Final = Path(__file__).with_name("mxnet_wrappers_inside.py")
# https://github.com/apache/mxnet/blob/1.9.1/python/mxnet/ndarray/register.py: all that a function
# gets which is made of the generated code.
_MAKE: Final = """\
def _make_{kind}_function(handle, name, func_name):
    code, doc_str = _generate_{kind}_function_code(handle, name, func_name)
    local = {{}}
    exec(code, None, local)
    {kind}_function = local[func_name]
    {kind}_function.__name__ = func_name
    {kind}_function.__doc__ = doc_str
    {kind}_function.__module__ = 'mxnet.{kind}'
    return {kind}_function
"""
_TAKE: Final = """\
    made = _layerpack_made(handle, name, func_name)
    if made is not None:
        return made
"""


def takes_made(text: str, kind: str) -> str | None:
    """The text of a kind's register.py, so that it takes functions from register.wrappers beside
    it; None where it makes functions in a way that is not known."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    name = f"_make_{kind}_function"
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
    if len(found) != 1 or not _is_known(found[0], kind):
        return None
    (make,) = found
    lines = text.split("\n")
    start, body = make.lineno - 1, _code(make)[0].lineno - 1
    return "\n".join(
        [
            *lines[:start],
            *(_inside(), "\n"),
            "_layerpack_made = _layerpack_made()\n\n",
            *lines[start:body],
            _TAKE + "\n".join(lines[body:]),
        ]
    )


def _is_known(make: ast.FunctionDef, kind: str) -> bool:
    (expected,) = ast.parse(_MAKE.format(kind=kind)).body
    assert isinstance(expected, ast.FunctionDef)  # noqa: S101
    make = ast.FunctionDef(**{**dict(ast.iter_fields(make)), "body": _code(make)})
    return ast.dump(make) == ast.dump(expected)


def _code(function: ast.FunctionDef) -> list[ast.stmt]:
    """A function's statements but for its docstring."""
    return function.body[int(ast.get_docstring(function, clean=False) is not None) :]


def _inside() -> str:
    source = INSIDE.read_text(encoding="utf-8")
    function = next(one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef))
    return ast.get_source_segment(source, function) or ""
