"""What the pass mxnet-wrappers puts into MXNet's two register.py: the function below.

It stands there as it stands here, uses nothing else of this file, and runs on Python 3.9 or later.
"""

from __future__ import annotations


def _layerpack_made() -> object:
    """layerpack: gives what makes operators' functions of those that were made at build time.

    That is called like the function below, and gives None for what MXNet has to make itself: all,
    where the Python, the library or its operators are other ones; and what is made once more, as
    mxnet.library.load does, for the operator may be another one by then.
    """
    import ctypes
    import marshal
    import os
    from importlib.util import MAGIC_NUMBER
    from types import FunctionType

    from mxnet.base import _LIB, _Null, check_call, py_str

    def nothing(handle: object, name: str, func_name: str) -> object:
        return None

    folder = os.path.dirname(os.path.abspath(__file__))
    library = os.path.dirname(os.path.abspath(_LIB._name))
    # What was made asserts, and what MXNet makes does not where Python is told so.
    if library != os.path.dirname(folder) or not __debug__:
        return nothing
    try:
        with open(os.path.join(folder, "register.wrappers"), "rb") as stream:
            data = stream.read()
        if not data.startswith(MAGIC_NUMBER):
            return nothing
        version, forms, made = marshal.loads(memoryview(data)[len(MAGIC_NUMBER) :])
    except (OSError, EOFError, ValueError, TypeError):
        return nothing
    number, size, names = ctypes.c_int(), ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    check_call(_LIB.MXGetVersion(ctypes.byref(number)))
    check_call(_LIB.MXListAllOpNames(ctypes.byref(size), ctypes.byref(names)))
    listed = {py_str(names[index]) for index in range(size.value)}
    if number.value != version or listed != made.keys():
        return nothing
    space = __name__.rpartition(".")[0]

    def ready(handle: ctypes.c_void_p, name: str, func_name: str) -> object:
        known, form, doc, constants, times = made.get(name, (None, 0, "", (), 0))
        if known != func_name:
            return None
        if times > 1:
            made[name] = (known, form, doc, constants, times - 1)
        else:
            del made[name]
        code, called, place, defaults = forms[form]
        constants = (*constants[:place], handle.value, *constants[place + 1 :])
        code = code.replace(co_consts=constants, **dict.fromkeys(called, func_name))
        values = tuple(_Null if is_null else None for is_null in defaults)
        function = FunctionType(code, globals(), func_name, values or None)
        function.__doc__ = doc
        function.__module__ = space
        return function

    return ready
