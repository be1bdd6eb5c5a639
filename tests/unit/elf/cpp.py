"""A C++ library whose names only it looks up, beside those that others need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.compilers import compile_source

#: Templates, virtual functions, typeinfo, static locals of inline functions, thread-local and
#: weak symbols, an IFUNC, function pointers: `answer()` uses them all. `visible` is another
#: library's business.
SOURCE = """
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

namespace own {
template <int N> struct Shape {
    virtual ~Shape() {}
    virtual int area() const { return N; }
};
template <int N> struct Square : Shape<N> {
    int area() const override { return N * N; }
};
template <int N> int use_more() { return N; }
template <int N> int use(const Shape<N>& shape) {
    static std::map<std::string, int> seen;
    seen[typeid(shape).name()] += shape.area();
    auto* square = dynamic_cast<const Square<N>*>(&shape);
    return square ? seen.begin()->second + use_more<N>() : -1;
}
int table[4] = {1, 2, 3, 4};
int* pointer = table + 2;
__attribute__((weak)) int weak() { return 5; }
int (*function)() = weak;
thread_local int local = 6;
inline int& unique() { static int value = 7; return value; }
int visible(int value) { return value + unique(); }
int thrower(int value) {
    if (value > 3) throw std::runtime_error("own");
    return value;
}
static int fast() { return 8; }
extern "C" int (*choose())() { return fast; }
int chosen() __attribute__((ifunc("choose")));
}  // namespace own

template <int N> int all() {
    own::Square<N> square;
    return own::use<N>(square) + all<N - 1>();
}
template <> int all<0>() { return 0; }

extern "C" const char* spelled() { return "_ZN3own7throwerEi"; }
extern "C" int answer() {
    int sum = all<60>() + *own::pointer + own::function() + own::local + own::visible(1);
    if (own::function != own::weak) return -1;
    try { own::thrower(9); } catch (const std::exception& error) { sum += error.what()[0]; }
    return sum + own::chosen();
}
"""


def cpp_library(path: Path, *options: str, names: int = 90, source: str = SOURCE) -> Path:
    """Compile `source` to a library, with so many instantiations of a template."""
    # Long names, as templates have, weigh more than many, and compile faster.
    source = re.sub("Shape|Square", lambda match: match[0] + "OfAnyKind" * 20, source)
    text = source.replace("all<60>", f"all<{names}>")
    # The highest instantiation calls all others, one below the other.
    depth = f"-ftemplate-depth={names + 9}"
    command = ["g++", "-std=c++17", "-shared", "-fPIC", "-O0", "-w", depth]
    return compile_source(path, command, text, *options, language="c++")


def dynamic_names(path: Path) -> set[str]:
    """The names of a library's dynamic symbols that are defined, as nm tells them."""
    command = ["nm", "-D", "--defined-only", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        line.split()[-1].partition("@")[0] for line in text.splitlines() if len(line.split()) > 2
    }


def complaints(path: Path) -> str:
    """What readelf finds wrong with a file."""
    command = ["readelf", "--all", "--wide", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr
