"""Load libmxnet.so and write down what it registered: `python registry_worker.py LIBRARY`.

Runs by itself, in a process that has the library's own libraries on LD_LIBRARY_PATH. Prints JSON:
`{"operators": {name: {attribute: [function, ...]}}, "aliases": {alias: name}, "backward": [name,
...], "factories": {name: function}}`. A function is a list, see `_function`; all addresses are
those of the library before it is loaded. Exits with a message where the library is not
as this expects it.

The layouts are those of nnvm's op.h and dmlc-core's any.h and registry.h of MXNet 1.x, and of
libstdc++'s std::function, std::vector and (copy-on-write) std::string. Each is checked where it can
be: names, sizes, and that every function lies in the library's code.
"""

import ctypes
import json
import os
import re
import struct
import sys

_WORD = 8
#: std::function<> and the priority that each attribute has beside it (OpMap::data_).
_ATTRIBUTE = 40
#: Bytes of an operator that are searched for its own functions and its number.
_OPERATOR = 0x180
#: Where FunctionRegEntryBase has its body, behind two strings and a vector.
_BODY = 40
_KEY = re.compile(rb"(?<=\0)[A-Z][A-Za-z]{2,40}(?:<[a-z]+>)?(?=\0)")
#: Of a function object that lies on the heap; none is larger.
_LARGEST_OBJECT = 256


class UnknownError(Exception):
    """The library is not as this module expects it."""


class Library:
    """The loaded library, and this process's memory."""

    def __init__(self, path: str) -> None:
        # As the kernel tells it; a cache may lie behind a link.
        self.path = os.path.realpath(path)
        self.handle = ctypes.CDLL(path)
        maps = [line.split() for line in open("/proc/self/maps", encoding="ascii")]  # noqa: PTH123, SIM115
        own = [row for row in maps if row[-1] == self.path]
        if not own:
            raise UnknownError("it is not where it was loaded from")
        self.base = min(int(row[0].split("-")[0], 16) for row in own)
        self.end = max(int(row[0].split("-")[1], 16) for row in own)
        self._code = [_extent(row) for row in own if "x" in row[1]]
        self._usable = ctypes.CDLL(None).malloc_usable_size
        self._usable.argtypes = [ctypes.c_void_p]
        self._usable.restype = ctypes.c_size_t

    def words(self, address: int, count: int) -> "tuple[int, ...]":
        return struct.unpack(f"<{count}Q", ctypes.string_at(address, count * _WORD))

    def text(self, address: int) -> str:
        """The std::string at an address: it points to its bytes, behind their number."""
        (start,) = self.words(address, 1)
        (length,) = self.words(start - 24, 1)
        if length > 4096:
            raise UnknownError("a name has an unknown layout")
        return ctypes.string_at(start, length).decode()

    def is_code(self, address: int) -> bool:
        return any(start <= address < end for start, end in self._code)

    def is_own(self, address: int) -> bool:
        return self.base <= address < self.end

    def object_words(self, function: int, manager: int) -> "tuple[int, ...]":
        """The words of the object in a std::function, which its manager copies to where there is
        nothing else.

        The function itself may have anything beside its object. A manager copies at 2, and tells
        where the object is at 1: in two words of the copy's own, or on the heap
        (libstdc++'s bits/std_function.h).
        """
        manage = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(
            manager
        )
        copy, place = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 2)()
        manage(ctypes.addressof(copy), function, 2)
        manage(ctypes.addressof(place), ctypes.addressof(copy), 1)
        if place[0] == ctypes.addressof(copy):
            return tuple(copy)
        if place[0] != copy[0]:
            raise UnknownError("an object of a function has an unknown place")
        # glibc's malloc(3): the size of a block.
        size = self._usable(place[0])
        if size > _LARGEST_OBJECT:
            raise UnknownError("an object of a function is of an unknown size")
        return self.words(place[0], size // _WORD)


def _extent(row: "list[str]") -> "tuple[int, int]":
    start, end = row[0].split("-")
    return int(start, 16), int(end, 16)


def _string(text: str) -> "tuple[object, int]":
    """A std::string: what keeps it alive, and its address."""
    data = text.encode()
    # Length, capacity, and a count of users that never comes down to none.
    block = ctypes.create_string_buffer(struct.pack("<QQq", len(data), len(data), 1 << 30) + data)
    pointer = ctypes.c_void_p(ctypes.addressof(block) + 24)
    return (block, pointer), ctypes.addressof(pointer)


def _function(library: Library, address: int) -> "list[int]":
    """What a std::function at an address calls: [function, invoker, ...addresses in its object];
    empty for none.

    The function is the invoker itself, which gets the object as its first argument, unless the
    object is a plain function pointer. The manager, which copies and destroys the object, is not
    told: it runs when operators are registered.
    """
    _, _, manager, invoker = library.words(address, 4)
    if not manager:
        return []
    if not library.is_code(manager) or not library.is_code(invoker):
        raise UnknownError("a function has an unknown layout")
    words = library.object_words(address, manager)
    plain = len(words) == 2 and library.is_code(words[0])
    return [
        (words[0] if plain else invoker) - library.base,
        invoker - library.base,
        *(word - library.base for word in words[int(plain) :] if library.is_own(word)),
    ]


def _operators(library: Library) -> "tuple[dict[str, int], dict[str, str]]":
    """Operators by their own name, with their addresses; and their aliases."""
    names = ctypes.POINTER(ctypes.c_char_p)()
    count = ctypes.c_uint()
    for function in ("MXListAllOpNames", "NNListAllOpNames"):
        # The first one registers those of the older kind.
        if getattr(library.handle, function)(ctypes.byref(count), ctypes.byref(names)) != 0:
            raise UnknownError("it does not list its operators")
    operators: dict[str, int] = {}
    aliases: dict[str, str] = {}
    for name in sorted(names[number].decode() for number in range(count.value)):
        handle = ctypes.c_void_p()
        failed = library.handle.NNGetOpHandle(name.encode(), ctypes.byref(handle))
        if failed or not handle.value:
            raise UnknownError(f"it does not give the operator {name}")
        own = library.text(handle.value)
        operators[own] = handle.value
        aliases[name] = own
    if set(operators) - set(aliases) or len(operators) < 100:
        raise UnknownError("its operators have an unknown layout")
    return operators, aliases


def _numbers(library: Library, operators: "dict[str, int]") -> "dict[int, str]":
    """Operators by their numbers: the one field that is another in each, and small."""
    found = []
    for at in range(_WORD, _OPERATOR, 4):
        numbers = {
            struct.unpack("<I", ctypes.string_at(address + at, 4))[0]: name
            for name, address in operators.items()
        }
        if len(numbers) == len(operators) and max(numbers) < 2 * len(operators):
            found.append(numbers)
    if len(found) != 1:
        raise UnknownError("its operators have no number")
    return found[0]


def _maps(library: Library) -> "dict[str, tuple[int, int]]":
    """Attributes with the extents of their vectors."""
    lookup = library.handle._ZN4nnvm2Op10GetAttrMapERKSs
    lookup.restype = ctypes.c_void_p
    lookup.argtypes = [ctypes.c_void_p]
    with open(library.path, "rb") as stream:  # noqa: PTH123
        keys = sorted(set(_KEY.findall(stream.read())))
    found = {}
    for key in keys:
        kept, address = _string(key.decode())
        holder = lookup(address)
        del kept
        if holder:
            # dmlc::any: its type, and a pointer to an OpMap: name, begin and end.
            _, attribute = library.words(holder, 2)
            if library.text(attribute) != key.decode():
                raise UnknownError(f"the attribute {key.decode()} has an unknown layout")
            begin, end = library.words(attribute + _WORD, 2)
            found[key.decode()] = begin, end
    if not {"FCompute<cpu>", "FInferShape", "FGradient", "TIsBackward"} <= set(found):
        raise UnknownError("its operators lack attributes")
    return found


def _factories(library: Library) -> "dict[str, list[int]]":
    """What makes operators of the older kind (OperatorProperty), by their names."""
    get = library.handle._ZN4dmlc8RegistryIN5mxnet19OperatorPropertyRegEE3GetEv
    get.restype = ctypes.c_void_p
    begin, end = library.words(get(), 2)
    entries = library.words(begin, (end - begin) // _WORD)
    return {library.text(one): _function(library, one + _BODY) for one in entries}


def describe(path: str) -> "dict[str, object]":
    """All of it, as the module's docstring says."""
    library = Library(path)
    operators, aliases = _operators(library)
    numbers = _numbers(library, operators)
    described: dict[str, dict[str, list[list[int]]]] = {name: {} for name in operators}
    backward: list[str] = []
    for key, (begin, end) in _maps(library).items():
        if key == "TIsBackward":
            # A bool and an int each.
            rows = struct.iter_unpack("<?xxxi", ctypes.string_at(begin, (end - begin) // 8 * 8))
            backward = [numbers[number] for number, (is_so, _) in enumerate(rows) if is_so]
        elif key.startswith("F"):
            if (end - begin) % _ATTRIBUTE:
                raise UnknownError(f"the attribute {key} has an unknown layout")
            for number in range((end - begin) // _ATTRIBUTE):
                function = _function(library, begin + number * _ATTRIBUTE)
                if function:
                    described[numbers[number]].setdefault(key, []).append(function)
    for name, found in _own_functions(library, operators).items():
        described[name]["own"] = found
    return {
        "operators": described,
        "aliases": aliases,
        "backward": sorted(backward),
        "factories": _factories(library),
    }


def _own_functions(library: Library, operators: "dict[str, int]") -> "dict[str, list[list[int]]]":
    """The functions in operators themselves: how many outputs each has, how parameters are read.

    They lie where every operator has either none or one that can be called.
    """
    rows = {name: library.words(at, _OPERATOR // _WORD) for name, at in operators.items()}
    places = [
        at
        for at in range(1, _OPERATOR // _WORD - 3)
        if any(row[at + 2] for row in rows.values())
        and all(
            not row[at + 2] or (library.is_code(row[at + 2]) and library.is_code(row[at + 3]))
            for row in rows.values()
        )
    ]
    if not places or any(other - one < 4 for one, other in zip(places, places[1:])):  # noqa: B905, RUF007
        raise UnknownError("its operators have functions at unknown places")
    return {
        name: [found for at in places if (found := _function(library, address + at * _WORD))]
        for name, address in operators.items()
    }


if __name__ == "__main__":
    try:
        print(json.dumps(describe(sys.argv[1])), flush=True)
    except (UnknownError, AttributeError, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    # At once: threads and destructors of the library may never return.
    os._exit(0)
