"""What a failed build from source lacks of its system, by what compilers and build tools print."""

from __future__ import annotations

import re
from typing import Final

_INSTALL: Final = "install the system's package that has it (in Docker: build.system-packages)"
# As setuptools, distutils, meson and CMake say it.
_NO_COMPILER: Final = re.compile(
    r"(?:command|execute) '(?:[^']*/)?(?:[\w-]+-)?(?:gcc|g\+\+|cc|c\+\+|clang|gfortran)'[^\n]*"
    r"No such file"
    r"|No such file or directory: '(?:[^']*/)?(?:[\w-]+-)?(?:gcc|g\+\+|cc|c\+\+|clang|gfortran)'"
    r"|Unknown compiler\(s\)|No CMAKE_(?:C|CXX|Fortran)_COMPILER could be found"
    r"|(?:gcc|g\+\+|cc|c\+\+|clang|gfortran): (?:command )?not found"
)
_NO_HEADER: Final = re.compile(
    r"fatal error: '?([\w./+-]+\.(?:h|hh|hpp|hxx|inc))'?(?:: No such file| file not found)"
)
# GNU ld; lld and gold.
_NO_LIBRARY: Final = re.compile(
    r"cannot find -l([\w.+-]+)|unable to find library -l([\w.+-]+)|library not found for -l(\S+)"
)
# pkg-config, meson and CMake.
_NO_PACKAGE: Final = re.compile(
    r"Package '?([\w.+-]+?)'?,? (?:required by '[^']*', not found|was not found in the pkg-config)"
    r"|No package '([\w.+-]+)' found|Dependency \"([\w.+-]+)\" not found"
    r"|CMake Error[^\n]*\n\s*Could NOT find ([\w.+-]+)"
    r"|Could not find a package configuration file provided by \"([\w.+-]+)\""
)
# Programs that describe a library, and those that build. The error alone does not tell a program
# from a file that is read; what Python raises it from does.
_NO_PROGRAM: Final = re.compile(
    r"execute '([\w.+-]+)'[^\n]*No such file|[Pp]rogram '([\w.+-]+)' not found"
    r"|in _execute_child\n(?:[^\n]*\n){1,3}FileNotFoundError: [^\n]*'([\w.+-]+)'"
    r"|\b([\w-]+[-_]config|cmake|cargo|rustc|ninja|swig|make|pkg-config)"
    r"(?: executable|:? command|:)? (?:was )?not found"
)


def lack_hint(text: str) -> str:
    """What to do about what a build's output says is missing: a compiler, a header, a library, a
    program; empty where it does not say."""
    if _NO_COMPILER.search(text):
        return (
            "There is no compiler: install one (in Docker: build.system-packages, or AWS's image), "
            "or name another in build.environment (CC, CXX, FC)."
        )
    if found := _NO_HEADER.search(text):
        return _advice(f"the header {found[1]}", "CPATH: FOLDER")
    if found := _NO_LIBRARY.search(text):
        return _advice(f"the library {_named(found)}", "LIBRARY_PATH: FOLDER")
    if found := _NO_PACKAGE.search(text):
        return _advice(_named(found), "PKG_CONFIG_PATH or CMAKE_PREFIX_PATH: FOLDER")
    if found := _NO_PROGRAM.search(text):
        return f"It lacks the program {_named(found)}: {_INSTALL}."
    return ""


def _advice(lack: str, variable: str) -> str:
    return f"It lacks {lack}: {_INSTALL}, or say where it is in build.environment ({variable})."


def _named(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group)
