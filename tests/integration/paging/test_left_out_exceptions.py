"""Dropped functions that throw an exception where they are called, and unwinding without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerpack.elf.code import Code
from layerpack.elf.drops import Dropped, Drops
from layerpack.elf.pack import PackOptions
from layerpack.elf.unwinding import unwinding_of
from tests.integration.paging.test_left_out import SOURCE, drops_of, missed
from tests.support.symbols import symbols
from tests.support.twins import Run, Twins, compile_c, filler, pack_twin, run_python

pytestmark = pytest.mark.cxx

#: Functions by their numbers in the library, and the exception's text for each.
WHICH = {"plain": 0, "first": 1, "second": 2, "deep": 3}

CAUGHT = """
import ctypes, json, mmap, sys
library = ctypes.CDLL(sys.argv[1])
system = ctypes.CDLL(None)
address, size = ctypes.c_void_p, ctypes.c_size_t
library.caught.argtypes = [ctypes.c_int, address, address, ctypes.c_char_p, size]
def caught(which, one=None, two=None):
    text = ctypes.create_string_buffer(1000)
    count = library.caught(which, pointer(one), pointer(two), text, 1000)
    return [count, text.value.decode()]
kept = []
def pointer(value):
    # Bytes, or how often they are pointed to and the bytes, or an address.
    if isinstance(value, tuple):
        steps, text = value
        kept.append(address(pointer(text if steps == 1 else (steps - 1, text))))
        return ctypes.addressof(kept[-1])
    if isinstance(value, bytes):
        kept.append(ctypes.create_string_buffer(value))
        return ctypes.addressof(kept[-1])
    return value
# A page, and one behind it that may not be read: were it not there, another one might come to be.
pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
end = ctypes.addressof(ctypes.c_char.from_buffer(pages)) + mmap.PAGESIZE
ctypes.memmove(end, b"hidden", 7)
assert system.mprotect(address(end), size(mmap.PAGESIZE), 0) == 0
def at_end(data):
    ctypes.memmove(end - len(data), data, len(data))
    return end - len(data)
"""

#: What the functions are called with, and the name in the exception's text; None: what the
#: function itself is known as.
CALLS: dict[str, tuple[str, str, str | None]] = {
    "no argument tells": ("plain", "b'name'", None),
    "the first argument": ("first", "b'_Some.Name_09_z'", "_Some.Name_09_z"),
    "the second, by a step": ("second", "b'not this', (1, b'Name')", "Name"),
    "the first, by two steps": ("deep", "(2, b'Name')", "Name"),
    "the other one tells nothing": ("second", "(1, b'Name'), None", None),
    "NULL": ("first", "None", None),
    "NULL, of which a step is to be made": ("deep", "None", None),
    "NULL behind a step": ("second", "None, (1, None)", None),
    "NULL behind two": ("deep", "(2, None)", None),
    "a step too many": ("second", "None, b'Name and more'", None),
    "a small number": ("first", "1", None),
    "a small number, of which a step is to be made": ("second", "None, 8", None),
    "nothing is there": ("first", "0x123456789000", None),
    "nothing is there, of which a step is to be made": ("second", "None, 0x123456789000", None),
    "no user's address": ("first", "0xffff888000000000", None),
    "no address": ("first", "1 << 63", None),
    "no address behind a step": ("deep", "(1, 1 << 62)", None),
    "the last address": ("first", "(1 << 64) - 1", None),
    "the last word": ("second", "None, (1 << 64) - 8", None),
    "empty": ("first", "b''", None),
    "a space": ("first", "b'some name'", None),
    "a colon at the end": ("first", "b'name:'", None),
    "no ASCII": ("first", "'näme'.encode()", None),
    "control characters": ("first", "b'name' + bytes([1])", None),
    "as long as may be": ("first", "b'n' * 127", "n" * 127),
    "too long": ("first", "b'n' * 128", None),
    "up to the page's end": ("first", "at_end(b'name' + bytes(1))", "name"),
    "of one letter, at the page's end": ("first", "at_end(b'n' + bytes(1))", "n"),
    "beyond the page's end": ("first", "at_end(b'name')", None),
    "beyond the page's end, aligned": ("first", "at_end(b'namename')", None),
    "it may not be read": ("first", "end", None),
    "it may not be read, of which a step is to be made": ("second", "None, end", None),
    "a step at the page's end": (
        *("second", "None, at_end(pointer(b'Name').to_bytes(8, 'little'))"),
        "Name",
    ),
    "a step over the page's end": ("second", "None, end - 4", None),
    "a step that is not aligned": (
        *("second", "None, pointer(b'x' + pointer(b'Name').to_bytes(8, 'little')) + 1"),
        None,
    ),
    "it is code": ("first", "ctypes.cast(library.caught, ctypes.c_void_p).value", None),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    folder = tmp_path_factory.mktemp("pair")
    original = compile_c(folder / "original/libtwin.so", SOURCE, cxx=True)
    options = PackOptions(level=3, window_size=16384, drops=drops_of(original))
    return pack_twin(original, folder / "packed", options)


def text_of(function: str, name: str | None) -> str:
    """What the exception says that a function throws."""
    wanted = name or f"what '{function}' is"
    return f"misses {wanted} here"


def test_its_name_is_told_where_it_can_be(pair: Twins) -> None:
    """In one process, which goes on after each."""
    lines = [
        f"print(json.dumps(caught({WHICH[function]}, {arguments})), flush=True)"
        for function, arguments, _ in CALLS.values()
    ]
    done = run_python("\n".join((CAUGHT, *lines)), pair.packed)
    found = dict(zip(CALLS, map(json.loads, done.out.splitlines()), strict=False))
    # The destructors of all 21 frames between have run.
    assert found == {
        what: [21, text_of(function, name)] for what, (function, _, name) in CALLS.items()
    }
    assert (done.code, done.err) == (0, "")


def test_a_jump_behind_its_start_is_missed_code(pair: Twins) -> None:
    first = symbols(pair.original)["first"]
    thrower = symbols(pair.original)["thrower"]
    code = f"{CAUGHT}place = ctypes.cast(library.thrower, ctypes.c_void_p).value\n"
    code += f"ctypes.CFUNCTYPE(None)(place + {first.start + 1 - thrower.start})()"
    assert run_python(code, pair.packed) == Run(code=-6, out="", err=missed(pair.packed, "first"))


def test_threads_that_throw_at_once_have_their_own_texts(pair: Twins) -> None:
    code = f"{CAUGHT}print(library.mixed_up(16, 200), library.mixed_up(2, 1000))"
    assert run_python(code, pair.packed) == Run(code=0, out="0 0\n", err="")


def test_a_thread_keeps_its_text_until_it_throws(pair: Twins) -> None:
    code = f"{CAUGHT}call = library.mixed_up_while_held\nprint(call(200, 0), call(200, 1))"
    assert run_python(code, pair.packed) == Run(code=0, out="0 0\n", err="")


def test_without_a_way_to_throw_it_is_missed_code(pair: Twins, tmp_path: Path) -> None:
    """Entries without one are functions like others that are left out."""
    drops = drops_of(pair.original)
    alone = Drops(dropped=drops.dropped, entries=drops.entries)
    packed = pack_twin(pair.original, tmp_path, PackOptions(level=3, drops=alone)).packed
    done = run_python(f"{CAUGHT}caught(1, b'Name')", packed)
    assert done == Run(code=-6, out="", err=missed(packed, "first"))


def handlers(count: int) -> str:
    """C++ functions that throw and catch, with destructors: `handle_<i>(x)`, one behind another.

    Of each the tables of exceptions have another length; every third one catches nothing.
    """
    lines = []
    for i in range(count):
        catches = "".join(
            f"catch (const Kind<{kind}> &kind) {{ sum += kind.value + {kind}; }}\n"
            for kind in range(i % 7 + 1)
        )
        guarded = f"Sum guard{{&sum, {i}}}; sum += thrown_by(x, {i % 9});"
        if i % 3:
            guarded = f"try {{ {guarded} }} {catches} catch (const char *) {{ sum += 1000; }}"
        lines.append(f'extern "C" uint64_t handle_{i}(uint64_t x) {{')
        lines.append(f"uint64_t sum = x; {guarded} return sum; }}")
    return "\n".join(lines)


HANDLERS = """
template <int N> struct Kind { uint64_t value; };
struct Sum { uint64_t *sum; int number; ~Sum() { *sum = call(number % 60, *sum); } };
static __attribute__((noinline)) uint64_t thrown_by(uint64_t x, int kind) {
    Sum guard{&x, kind};
    switch (kind) {
        case 0: throw Kind<0>{x};
        case 1: throw Kind<1>{x};
        case 2: throw Kind<2>{x};
        case 3: throw Kind<3>{x};
        case 4: throw "text";
        case 5: throw 6;
        default: return x;
    }
}
"""
COUNT = 90
CATCHER = f"""
typedef uint64_t (*handler)(uint64_t);
static const handler all_handlers[] = {{{", ".join(f"handle_{i}" for i in range(COUNT))}}};
extern "C" uint64_t handled(int i, uint64_t x) {{
    try {{ return all_handlers[i](x); }}
    catch (const Kind<0> &kind) {{ return kind.value ^ 1; }}
    catch (const Kind<3> &kind) {{ return kind.value ^ 2; }}
    catch (const char *) {{ return 3; }}
    catch (...) {{ return x ^ 4; }}
}}
"""


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def handling(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("handling") / "libtwin.so"
    source = "\n".join((filler(60), HANDLERS, handlers(COUNT), CATCHER))
    return compile_c(path, source, request.param, cxx=True)


@pytest.mark.parametrize("third", [0, 1, 2])
def test_exceptions_pass_through_what_is_kept(handling: Path, tmp_path: Path, third: int) -> None:
    """Every third function is left out, with what unwinding would read of it."""
    found = symbols(handling)
    gone = [found[f"handle_{i}"] for i in range(COUNT) if i % 3 == third]
    cleared = unwinding_of(Code(handling), (one.start for one in gone))
    # All have call frames; those that catch or clean up have tables of exceptions, too.
    assert len(cleared) == 2 * len(gone)
    drops = Drops(
        dropped=tuple(Dropped(start=x.start, end=x.end, name="", hint="") for x in gone),
        cleared=cleared,
    )
    options = PackOptions(level=3, window_size=8192, drops=drops)
    twins = pack_twin(handling, tmp_path, options)
    code = f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.handled.restype = ctypes.c_uint64
kept = [i for i in range({COUNT}) if i % 3 != {third}]
print([library.handled(i, ctypes.c_uint64(x)) for i in kept for x in range(20)])
"""
    expected = run_python(code, twins.original)
    assert expected.code == 0
    assert run_python(code, twins.packed) == expected
