"""Libraries on diet in processes of their own: two that share classes, bound in every way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack.elf.diet import DietOptions, DietResult, diet
from layerpack.elf.tables import undefined_and_defined_names
from tests.unit.elf.cpp import complaints, cpp_library

pytestmark = pytest.mark.cxx

CORE = """
#include <stdexcept>
#include <typeinfo>
#include <vector>
#include "core.h"

namespace own {
Error::~Error() {}
Base::~Base() {}
int Base::number() const { return 1; }
int Derived::number() const { return 2; }
Base* make(bool derived) { return derived ? new Derived : new Base; }
void raise(int code) { if (code) throw Error(code); }
int call(int (*callback)(int), int value) {
    try { return callback(value); } catch (const Error& error) { return -error.code; }
}
Function address() { return &raise; }
int* shared() { return &counter(); }
__attribute__((weak)) int replaceable() { return 10; }
int replaced() { return replaceable(); }
static thread_local std::vector<int> locals;
int remember(int value) { locals.push_back(value); return locals.size(); }
int fast_one() { return 77; }
}  // namespace own
extern "C" int (*choose_fast())() { return own::fast_one; }
namespace own { int fast() __attribute__((ifunc("choose_fast"))); }
extern "C" int versioned_old() { return 100; }
extern "C" int versioned_new() { return 200; }

template <int N> struct Padding {
    virtual ~Padding() {}
    virtual int get() const { return N; }
    static int make() { Padding padding; return reinterpret_cast<Padding&>(padding).get(); }
};
struct LONG {};
template <class T, int N> int pad(const T* = nullptr) {
    static Padding<N> padding;
    return padding.get() + Padding<N>::make() + pad<T, N - 1>();
}
template <> int pad<LONG, 0>(const LONG*) { return 0; }
extern "C" int padded() { return pad<LONG, 150>(); }
"""
HEADER = """
#include <stdexcept>
namespace own {
struct Error : std::runtime_error {
    int code;
    explicit Error(int code) : std::runtime_error("own"), code(code) {}
    ~Error() override;
};
struct Base { virtual ~Base(); virtual int number() const; };
struct Derived : Base { int number() const override; };
inline int& counter() { static int value = 40; return value; }
using Function = void (*)(int);
Base* make(bool derived);
void raise(int code);
int call(int (*callback)(int), int value);
Function address();
int* shared();
int replaceable();
int replaced();
int remember(int value);
int fast();
}
extern "C" int padded();
"""
PROGRAM = """
#include <cstdio>
#include <dlfcn.h>
#include <thread>
#include "core.h"
namespace own { int replaceable() { return 20; } }
static int thrower(int value) { throw own::Error(value); }
int main() {
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    try { own::raise(5); } catch (const std::runtime_error& error) {
        std::printf("caught %s %d\\n", error.what(), dynamic_cast<const own::Error&>(error).code);
    }
    std::printf("call %d\\n", own::call(thrower, 6));
    own::Base* base = own::make(true);
    std::printf("cast %d %d\\n", dynamic_cast<own::Derived*>(base) != nullptr, base->number());
    delete base;
    base = own::make(false);
    std::printf("cast %d %d\\n", dynamic_cast<own::Derived*>(base) != nullptr, base->number());
    delete base;
    std::printf("address %d\\n", own::address() == &own::raise);
    own::counter() += 1;
    std::printf("shared %d %d\\n", own::shared() == &own::counter(), *own::shared());
    std::printf("interposed %d\\n", own::replaced());
    std::thread([] { own::remember(1); std::printf("local %d\\n", own::remember(2)); }).join();
    std::printf("local %d\\nifunc %d\\npadded %d\\n", own::remember(3), own::fast(), padded());
    void* self = dlopen("libcore.so", RTLD_NOW);
    for (const char* version : {"OWN_1", "OWN_2"}) {
        auto* found = reinterpret_cast<int (*)()>(dlvsym(self, "versioned", version));
        std::printf("%s %d\\n", version, found ? found() : -1);
    }
    std::printf("C name %d\\n", dlsym(self, "padded") == reinterpret_cast<void*>(&padded));
}
"""
SYMVER = """
__asm__(".symver versioned_old, versioned@OWN_1");
__asm__(".symver versioned_new, versioned@@OWN_2");
"""
EXPECTED = """caught own 5
call -6
cast 1 2
cast 0 1
address 1
shared 1 41
interposed 20
local 2
local 1
ifunc 77
padded 22650
OWN_1 100
OWN_2 200
C name 1
"""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with core.o and the program, which is linked with a first libcore.so."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "core.h").write_text(HEADER)
    name = "a_type_with_a_name_of_a_length_that_templates_reach_" * 6
    (folder / "core.cpp").write_text((CORE + SYMVER).replace("LONG", name))
    (folder / "program.cpp").write_text(PROGRAM)
    (folder / "versions").write_text("OWN_1 { global: *; };\nOWN_2 { } OWN_1;\n")
    common = ["g++", "-std=c++17", "-O0", "-fPIC", "-w"]
    _run([*common, "-c", "core.cpp"], folder)
    _link(folder, folder)
    _run([*common, "program.cpp", "-o", "program", "-L.", "-lcore", "-ldl", "-pthread"], folder)
    return folder


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True)


def _link(objects: Path, folder: Path, *options: str) -> Path:
    path = folder / "libcore.so"
    script = "-Wl,--version-script=versions"
    command = ["g++", "-shared", "core.o", script, "-Wl,-soname,libcore.so", *options]
    _run([*command, "-o", str(path)], objects)
    return path


def _output(objects: Path, folder: Path, **environment: str) -> str:
    command = [str(objects / "program")]
    return subprocess.run(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    "options",
    [
        ("-Wl,-z,lazy",),
        ("-Wl,-z,now",),
        ("-Wl,--hash-style=sysv",),
        ("-Wl,--hash-style=both", "-Wl,-z,noseparate-code"),
        ("-Wl,-z,pack-relative-relocs",),
        ("-Wl,-z,max-page-size=0x200000", "-Wl,-z,norelro"),
        ("-fuse-ld=gold",),
    ],
    ids=" ".join,
)
def test_the_same_with_every_way_to_link(
    objects: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    original = _link(objects, tmp_path, *options)
    assert _output(objects, tmp_path) == EXPECTED
    result = tmp_path / "diet" / "libcore.so"
    result.parent.mkdir()
    keep = undefined_and_defined_names(objects / "program")
    done = diet(original, result, DietOptions(keep=keep))
    assert isinstance(done, DietResult), done
    assert done.bound > 600
    assert complaints(result) == ""
    assert _output(objects, result.parent) == EXPECTED
    assert _output(objects, result.parent, LD_BIND_NOW="1") == EXPECTED


def test_fewer_names_are_looked_up(objects: Path, tmp_path: Path) -> None:
    original = _link(objects, tmp_path)
    result = tmp_path / "diet" / "libcore.so"
    result.parent.mkdir()
    keep = undefined_and_defined_names(objects / "program")
    done = diet(original, result, DietOptions(keep=keep))
    assert isinstance(done, DietResult)
    counts = []
    for folder in (tmp_path, result.parent):
        log = folder / "log"
        _output(objects, folder, LD_DEBUG="bindings", LD_BIND_NOW="1", LD_DEBUG_OUTPUT=str(log))
        (written,) = folder.glob("log.*")
        lines = written.read_text().splitlines()
        counts.append(sum("binding file" in line and "libcore.so [0] to" in line for line in lines))
    assert counts[1] < counts[0] / 3


def test_a_name_that_is_not_kept_is_not_interposed(objects: Path, tmp_path: Path) -> None:
    """What keep is for: without it, the program's own definition no longer counts."""
    original = _link(objects, tmp_path)
    result = tmp_path / "diet" / "libcore.so"
    result.parent.mkdir()
    keep = undefined_and_defined_names(objects / "program") - {"_ZN3own11replaceableEv"}
    assert isinstance(diet(original, result, DietOptions(keep=keep)), DietResult)
    wanted = EXPECTED.replace("interposed 20", "interposed 10")
    assert _output(objects, result.parent) == wanted


def test_python_loads_a_library_beside_its_original(tmp_path: Path) -> None:
    """Either order, in the global scope and out of it; used in a thread and a child process."""
    original = cpp_library(tmp_path / "lib.so")
    result = tmp_path / "diet.so"
    assert isinstance(diet(original, result, DietOptions()), DietResult)
    code = """
import ctypes, os, sys, threading
paths = sys.argv[1:]
first, second = ctypes.CDLL(paths[0], os.RTLD_GLOBAL), ctypes.CDLL(paths[1], os.RTLD_NOW)
print(first.answer(), flush=True)
thread = threading.Thread(target=lambda: print(second.answer(), flush=True))
thread.start()
thread.join()
if os.fork() == 0:
    os._exit(0 if first.answer() > 0 < second.answer() else 1)
print(os.wait()[1])
"""
    outputs = []
    for paths in ([original, result], [result, original], [original, original]):
        command = [sys.executable, "-I", "-c", code, *map(str, paths)]
        outputs.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [output.splitlines()[0] for output in outputs] == [outputs[2].splitlines()[0]] * 3
    assert all(output.endswith("\n0\n") for output in outputs)
