"""What compilers and build tools print where something is missing, and what to do."""

from __future__ import annotations

import pytest

from layerpack.source_lacks import lack_hint


@pytest.mark.parametrize(
    ("text", "lack", "variable"),
    [
        ("a.c:1:10: fatal error: lz4.h: No such file or directory", "the header lz4.h", "CPATH"),
        ("a.c:1:10: fatal error: 'lz4/hc.h' file not found", "the header lz4/hc.h", "CPATH"),
        ("/usr/bin/ld: cannot find -llz4: No such file", "the library lz4", "LIBRARY_PATH"),
        ("ld.lld: error: unable to find library -llz4", "the library lz4", "LIBRARY_PATH"),
        (
            "Package liblz4 was not found in the pkg-config search path.",
            "liblz4",
            "PKG_CONFIG_PATH",
        ),
        ("Package 'liblz4', required by 'virtual:world', not found", "liblz4", "PKG_CONFIG_PATH"),
        ("No package 'liblz4' found", "liblz4", "PKG_CONFIG_PATH"),
        (
            'meson.build:3:0: ERROR: Dependency "openblas" not found, tried pkgconfig',
            "openblas",
            "",
        ),
        (
            "CMake Error at FindPackageHandleStandardArgs.cmake:230 (message):\n"
            "  Could NOT find BLAS (missing: BLAS_LIBRARIES)",
            "BLAS",
            "CMAKE_PREFIX_PATH",
        ),
        ("error: command 'gcc' failed: No such file or directory", "compiler", "CC"),
        ("error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'", "compiler", "CC"),
        ("ERROR: Unknown compiler(s): [['cc'], ['gcc']]", "compiler", "CC"),
        ("sh: 1: gcc: not found", "compiler", "CC"),
    ],
)
def test_a_lack_is_named_with_the_keys_that_help(text: str, lack: str, variable: str) -> None:
    hint = lack_hint(f"Building wheel\n{text}\nerror: subprocess-exited-with-error\n")
    assert lack in hint
    assert "build.system-packages" in hint
    assert "build.environment" in hint
    assert variable in hint


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("Error: pg_config executable not found.", "pg_config"),
        ("/bin/sh: 1: mysql_config: not found", "mysql_config"),
        ("meson.build:4: ERROR: Program 'cython' not found or not executable", "cython"),
        (
            '  File "subprocess.py", line 1950, in _execute_child\n'
            "    raise child_exception_type(errno_num, err_msg, err_filename)\n"
            "FileNotFoundError: [Errno 2] No such file or directory: 'cmake'",
            "cmake",
        ),
    ],
)
def test_a_program_that_is_missing_is_named(text: str, program: str) -> None:
    hint = lack_hint(f"Building wheel\n{text}\nerror: subprocess-exited-with-error\n")
    # Not build.environment: a PATH there would replace all of it, with the compiler's folder.
    assert hint.startswith(f"It lacks the program {program}: ")
    assert "build.system-packages" in hint and "build.environment" not in hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FileNotFoundError: [Errno 2] No such file or directory: 'requirements.txt'",
        "Program 'python3' found: YES (/usr/bin/python3)\na.c:3:1: error: expected ';'",
        "-- Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)\na.c:3:1: error: expected ';'",
        "error: [Errno 2] No such file or directory: 'src/foo.cc'",
        "a.c:3:1: error: expected ';' before '}' token",
        "fatal error: no alpha.h",
        "FileNotFoundError: [Errno 2] No such file or directory: 'data/README.md'",
        "ModuleNotFoundError: No module named 'cython'",
        "error: package directory 'alpha' does not exist",
    ],
)
def test_other_failures_are_no_lack_of_the_system(text: str) -> None:
    assert lack_hint(text) == ""


def test_a_resolver_that_finds_no_distribution_lacks_nothing_of_the_system() -> None:
    text = "Because nosuch was not found in the package registry and you require nosuch"
    assert lack_hint(text) == ""
    assert lack_hint(text.replace("Because nosuch", "Package nosuch")) == ""
