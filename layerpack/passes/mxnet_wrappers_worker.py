"""Make, pack and check the functions of MXNet's operators. Run by the target's interpreter.

    python mxnet_wrappers_worker.py describe OUTPUT SITE...
    python mxnet_wrappers_worker.py pack OUTPUT DESCRIPTION
    python mxnet_wrappers_worker.py check OUTPUT SITE...

`describe` writes what MXNet generates as it is imported from the folders SITE; `pack` makes
OUTPUT.ndarray and OUTPUT.symbol of that; `check` compares every function that an MXNet with these
takes from there with the one that it would make itself. OUTPUT is JSON: `{"refusal": why}` where
it cannot be done. Imports nothing of layerpack, is imported by nothing, and runs on Python 3.9 or
later.
"""

import sys

# The folder of this script, whose modules would hide the standard library's.
del sys.path[0]

import ast  # noqa: E402
import ctypes  # noqa: E402
import inspect  # noqa: E402
import json  # noqa: E402
import marshal  # noqa: E402
import os  # noqa: E402
import site  # noqa: E402
from importlib.machinery import PathFinder  # noqa: E402
from importlib.util import MAGIC_NUMBER  # noqa: E402
from types import CodeType  # noqa: E402
from typing import Any  # noqa: E402

_KINDS = ("ndarray", "symbol")
_REGISTERS = ("_init_op_module", "_init_np_op_module")
#: Stands for an operator's address. Large, as an address is: small numbers are no constants.
_HANDLE = 0x6C61796572706163
#: What of a function's code is its name: co_qualname came with Python 3.11.
_CALLED = tuple(name for name in ("co_name", "co_qualname") if hasattr(CodeType, name))
#: What two functions that do the same agree in, the constants apart.
_CODE = (
    *_CALLED,
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_code"),
    *("co_names", "co_varnames", "co_freevars", "co_cellvars", "co_filename", "co_firstlineno"),
)
_FUNCTION = (
    *("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__"),
    *("__dict__", "__closure__", "__annotations__"),
)


class _RefusalError(Exception):
    """Why it cannot be done."""


def describe(sites: list[str]) -> Any:
    """The library's version, and for either kind of function, in the order that they are made:
    operator -> the function's name, how often it is made, its source with _HANDLE, its doc."""
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}

    def made(make: Any, handle: Any, name: str, func_name: str) -> Any:
        kind = make.__module__.split(".")[1]
        known = kinds[kind].get(name)
        if known is None:
            generate = make.__globals__[f"_generate_{kind}_function_code"]
            code, doc = generate(handle, name, func_name)
            address = str(handle.value)
            if code.count(address) != 1:
                raise _RefusalError(f"the code of the operator {name} is of another kind")
            code = code.replace(address, str(_HANDLE))
            kinds[kind][name] = [func_name, 1, code, doc]
        elif known[0] == func_name:
            known[1] += 1
        else:
            raise _RefusalError(f"the operator {name} has two names")
        return make(handle, name, func_name)

    library = _import(sites, made)
    version = ctypes.c_int()
    library.MXGetVersion(ctypes.byref(version))
    return {"version": version.value, "kinds": kinds}


def pack(output: str, description: str) -> Any:
    """What mxnet_wrappers_inside.py reads: a magic number, then, marshalled, the library's version,
    the functions' forms, and for each operator the function's name, the number of its form, its
    documentation, its constants, and how often it is made."""
    with open(description, encoding="utf-8") as stream:  # noqa: PTH123
        described = json.load(stream)
    count = 0
    for kind, operators in described["kinds"].items():
        forms: dict[Any, int] = {}
        docs: dict[str, str] = {}
        made = {}
        for operator, (function, times, code, doc) in operators.items():
            # One text each, as marshal stores an object once.
            name, func_name = sys.intern(operator), sys.intern(function)
            text = docs.setdefault(doc, doc)
            form, constants = _parts(func_name, code, text)
            number = forms.setdefault(form, len(forms))
            made[name] = (func_name, number, text, constants, times)
        data = marshal.dumps((described["version"], tuple(forms), made))
        with open(f"{output}.{kind}", "wb") as stream:  # noqa: PTH123
            stream.write(MAGIC_NUMBER + data)
        count = len(made)
    return {"operators": count}


def _parts(func_name: str, source: str, doc: str) -> tuple[Any, tuple[Any, ...]]:
    """A function's form (its code without name and constants, what of that is the name, the place
    of the operator among the constants, which defaults are _Null), and its constants."""
    null = object()
    space: dict[str, Any] = {}
    # Executed by the name that MXNet's own have.
    exec(compile(_shortened(source), "<string>", "exec"), {"_Null": null}, space)  # noqa: S102
    function = space.pop(func_name)
    code: CodeType = function.__code__
    constants = code.co_consts
    defaults = function.__defaults__ or ()
    places = [number for number, one in enumerate(constants) if one == _HANDLE]
    if space or len(places) != 1:
        raise _RefusalError(f"the function {func_name} is of another form")
    if function.__kwdefaults__ or not all(one in (None, null) for one in defaults):
        raise _RefusalError(f"the function {func_name} has other defaults")
    nameless: Any = dict.fromkeys(_CALLED, "_")
    bare = code.replace(co_consts=(), **nameless)
    form = (bare, _CALLED, places[0], tuple(one is null for one in defaults))
    # In the source it is indented, and MXNet gives the function this one.
    return form, (doc, *constants[1:]) if _documents(code) else constants


def _shortened(source: str) -> ast.Module:
    """The tree of a function whose documentation takes one line, so that functions which differ in
    that alone are of one form. Nobody has the text that the numbers of lines are about."""
    tree = ast.parse(source)
    for one in tree.body:
        shift = 0
        for statement in getattr(one, "body", ()):
            ast.increment_lineno(statement, -shift)
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant):
                shift += (statement.end_lineno or 0) - statement.lineno
                statement.end_lineno = value.end_lineno = statement.lineno
    return tree


def _documents(code: CodeType) -> bool:
    """Whether the first constant is a docstring; numpy's operators have none."""
    return isinstance(code.co_consts[0], str)


def check(sites: list[str]) -> Any:
    """How many functions were taken. Raises _RefusalError for one that was not, or differs."""
    count = 0

    def made(make: Any, handle: Any, name: str, func_name: str) -> Any:
        nonlocal count
        ready = make.__globals__["_layerpack_made"]
        taken = []

        def noted(*given: Any) -> Any:
            taken.append(ready(*given))
            return taken[0]

        make.__globals__["_layerpack_made"] = noted
        function = make(handle, name, func_name)
        make.__globals__["_layerpack_made"] = lambda *given: None
        own = make(handle, name, func_name)
        make.__globals__["_layerpack_made"] = ready
        if taken[0] is not function:
            raise _RefusalError(f"{make.__module__} does not take {name}")
        if differing := _difference(function, own):
            raise _RefusalError(f"{make.__module__} has another {differing} for {name}")
        count += 1
        return function

    _import(sites, made)
    return {"functions": count}


def _difference(one: Any, other: Any) -> str:
    """In what two functions differ, empty if in nothing."""
    for name in _FUNCTION:
        if getattr(one, name) != getattr(other, name):
            return name
    for name in _CODE:
        if getattr(one.__code__, name) != getattr(other.__code__, name):
            return name
    if one.__globals__ is not other.__globals__:
        return "__globals__"
    first = int(_documents(other.__code__))
    same = one.__code__.co_consts[first:] == other.__code__.co_consts[first:]
    return "" if same else "co_consts"


def _import(sites: list[str], made: Any) -> Any:
    """Import MXNet, each function by `made(make, handle, name, func_name)`; gives its library."""

    def watched(register: Any) -> Any:
        signature = inspect.signature(register)

        def registered(*given: Any, **named: Any) -> Any:
            bound = signature.bind(*given, **named)
            make = bound.arguments["make_op_func"]
            bound.arguments["make_op_func"] = lambda *operator: made(make, *operator)
            return register(*bound.args, **bound.kwargs)

        return registered

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            if name != "mxnet.base":
                return None
            spec: Any = PathFinder.find_spec(name, path, target)
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                for register in _REGISTERS:
                    setattr(module, register, watched(getattr(module, register)))

            spec.loader.exec_module = exec_module
            return spec

    sys.path[:0] = sites
    for folder in sites:
        site.addsitedir(folder)
    sys.meta_path.insert(0, Finder())
    import mxnet.base  # noqa: PLC0415

    return mxnet.base._LIB


def main(what: str, output: str, *given: str) -> None:
    """See above."""
    told: Any
    try:
        if what == "pack":
            told = pack(output, *given)
        else:
            told = {"describe": describe, "check": check}[what](list(given))
    except _RefusalError as error:
        told = {"refusal": str(error)}
    except Exception as error:
        text = " ".join(str(error).split())
        told = {"refusal": f"{type(error).__name__}: {text}"}
    with open(output, "w", encoding="utf-8") as stream:  # noqa: PTH123
        json.dump(told, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # At once: threads and exit handlers of MXNet may never return.
    os._exit(0)
