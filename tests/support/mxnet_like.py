"""A distribution that makes functions of operators as MXNet does, from a library of its own.

Its functions give what they are called with. Variables change what the library says:
OPERATORS how many operators there are (3), VERSION its version (10901).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.code import compiled

_LIBRARY = """
#include <stdlib.h>
#include <string.h>
static const char *names[] = {"relu", "_np_all", "_contrib_gelu", "added"};
static int number(const char *name, int otherwise) {
    return getenv(name) ? atoi(getenv(name)) : otherwise;
}
int MXGetVersion(int *version) { *version = number("VERSION", 10901); return 0; }
int MXListAllOpNames(unsigned *size, const char ***all) {
    *size = number("OPERATORS", 3);
    *all = names;
    return 0;
}
int NNGetOpHandle(const char *name, void **handle) {
    for (unsigned n = 0; n < 4; n++) if (!strcmp(names[n], name)) *handle = &names[n];
    return 0;
}
"""
_BASE = """
import ctypes, os, sys
_LIB = ctypes.CDLL(os.environ.get("LIBRARY", os.path.join(os.path.dirname(__file__), "libmx.so")))
class _NullType: pass
_Null = _NullType()
def py_str(data): return data.decode()
def check_call(code): assert code == 0
def _operators():
    size, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    check_call(_LIB.MXListAllOpNames(ctypes.byref(size), ctypes.byref(names)))
    for index in range(size.value):
        handle = ctypes.c_void_p()
        check_call(_LIB.NNGetOpHandle(names[index], ctypes.byref(handle)))
        yield handle, py_str(names[index])
def _init_op_module(root_namespace, module_name, make_op_func):
    for handle, name in _operators():
        if not name.startswith("_np_"):
            for _ in range(2 if name.startswith("_contrib_") else 1):
                function = make_op_func(handle, name, name.removeprefix("_contrib_"))
                function.__module__ = module_name
                setattr(sys.modules[f"{root_namespace}.{module_name}"], function.__name__, function)
def _init_np_op_module(root_module_name, np_module_name, mx_module_name, make_op_func):
    for handle, name in _operators():
        if name.startswith("_np_"):
            function = make_op_func(handle, name, name.removeprefix("_np_"))
            function.__doc__ = function.__doc__.upper()
            module = sys.modules[f"{root_module_name}.{mx_module_name}"]
            setattr(module, function.__name__, function)
"""
_REGISTER = '''
"""Makes functions."""
import ctypes

from ..base import _Null, _init_op_module, _init_np_op_module

made_here = []

def _called(*given):
    return given

def _generate_KIND_function_code(handle, op_name, func_name, signature_only=False):
    made_here.append(op_name)
    doc = f"{op_name}, of KIND." + "\\n\\nMore." * len(op_name)
    text = ['def %s(data=None, alpha=_Null, **kwargs):' % func_name, "    keys = list(kwargs)"]
    text.insert(2 if op_name.startswith("_np_") else 1, '    r"""%s"""' % doc)
    text += ["    assert alpha != 1", "    return _called(%d, data, alpha, keys, '%s')"]
    return "\\n".join(text) % (handle.value, func_name), doc

# What makes a function.
def _make_KIND_function(handle, name, func_name):
    """Create a function by handle and function name."""
    code, doc_str = _generate_KIND_function_code(handle, name, func_name)

    local = {}
    exec(code, None, local)  # pylint: disable=exec-used
    KIND_function = local[func_name]
    KIND_function.__name__ = func_name
    KIND_function.__doc__ = doc_str
    KIND_function.__module__ = 'mxnet.KIND'
    return KIND_function

_init_op_module('mxnet', 'KIND', _make_KIND_function)
_init_np_op_module(root_module_name='mxnet', np_module_name='numpy',
                   mx_module_name='KIND', make_op_func=_make_KIND_function)
'''


def mxnet_like(folder: Path) -> Mapping[str, str | Path]:
    """Its files by their paths below site-packages; its library is compiled in `folder`."""
    library = compiled(folder / "libmx.so", _LIBRARY)
    files: dict[str, str | Path] = {
        "mxnet/__init__.py": "from . import base, ndarray, symbol\n",
        "mxnet/base.py": _BASE,
        "mxnet/libmx.so": library,
    }
    for kind in ("ndarray", "symbol"):
        files[f"mxnet/{kind}/__init__.py"] = "from . import register\n"
        files[f"mxnet/{kind}/register.py"] = _REGISTER.replace("KIND", kind)
    return files
