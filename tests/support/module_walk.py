"""What a package's modules hold, as JSON. Run by the target's interpreter, with the package on
PYTHONPATH.

    python module_walk.py PACKAGE

For every module: `__all__`, and for every name in it what kind of value it has, and where else the
same one is; for functions and classes also signature, defaults, documentation, how they pickle,
what help() says and whether there is a source. Paths are given below the package's folder.
"""

import sys

# The folder of this script, whose modules would hide the standard library's.
del sys.path[0]

import importlib  # noqa: E402
import inspect  # noqa: E402
import json  # noqa: E402
import pickle  # noqa: E402
import pkgutil  # noqa: E402
import pydoc  # noqa: E402
import re  # noqa: E402
from hashlib import sha256  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FunctionType, ModuleType  # noqa: E402
from typing import Any  # noqa: E402

_PLAIN = (bool, int, float, str, bytes, tuple, list, dict, set, frozenset, type(None))


class Walk:
    """See above. `found` maps module -> name -> what is told of it."""

    def __init__(self, package: str) -> None:
        top = importlib.import_module(package)
        self._package = package
        self._root = str(Path(top.__path__[0]).parent)
        self._places: dict[int, str] = {}
        names = [one for one in sys.modules if one == package or one.startswith(f"{package}.")]
        self._modules = {name: sys.modules[name] for name in sorted(names)}
        self.found = {name: self._module(one) for name, one in self._modules.items()}
        self.found["modules on disk"] = {
            one.name: one.ispkg for one in pkgutil.walk_packages(top.__path__, f"{package}.")
        }

    def _module(self, module: ModuleType) -> dict[str, Any]:
        told: dict[str, Any] = {"dir()": dir(module), "order": list(vars(module))}
        for name, value in list(vars(module).items()):
            if name != "__builtins__":
                told[name] = self._value(value, f"{module.__name__}.{name}")
        return told

    def _value(self, value: Any, place: str) -> Any:
        if isinstance(value, _PLAIN):
            return self._text(repr(value)) if len(repr(value)) < 10**5 else len(repr(value))
        known = self._places.setdefault(id(value), place)
        if known != place:
            return f"is {known}"
        told: dict[str, Any] = {"type": str(type(value))}
        if isinstance(value, FunctionType):
            told.update(self._function(value))
        elif isinstance(value, type) and value.__module__.startswith(self._package):
            told["bases"] = [str(base) for base in value.__mro__]
            told["doc"] = value.__doc__
            told["members"] = {
                name: self._value(member, f"{place}.{name}")
                for name, member in list(vars(value).items())
                if not name.startswith("__weakref") and name != "__dict__"
            }
        return told

    def _function(self, function: FunctionType) -> dict[str, Any]:
        code = function.__code__
        return {
            "names": [function.__module__, function.__qualname__, function.__name__],
            "signature": self._text(_tried(lambda: str(inspect.signature(function)))),
            "defaults": self._text(repr([function.__defaults__, function.__kwdefaults__])),
            "doc": function.__doc__,
            "attributes": sorted(vars(function)),
            "globals": function.__globals__["__name__"],
            "code": [code.co_name, sha256(code.co_code).hexdigest(), code.co_names, code.co_flags],
            "file": self._text(code.co_filename),
            "source": _tried(lambda: sha256(inspect.getsource(function).encode()).hexdigest()),
            "help": self._text(pydoc.plain(pydoc.render_doc(function))),
            "pickle": self._text(_tried(lambda: pickle.dumps(function, 4).hex())),
        }

    def _text(self, text: str) -> str:
        """A text without what differs from process to process."""
        return re.sub(r"0x[0-9a-f]{6,}", "0x", text.replace(self._root, ""))


def _tried(action: Any) -> str:
    try:
        return str(action())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    json.dump(Walk(sys.argv[1]).found, sys.stdout)
