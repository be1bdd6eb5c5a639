"""Files that two distributions bring under one path: one stays; some cause a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.builders.unpack import LaidOut, payload_of
from layerpack.cache import Cache
from tests.support.wheels import make_wheel
from tests.unit.builders.test_unpack import wheel_file

_PKGUTIL = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)  # type: ignore\n"
_PKGUTIL_TOO = '\n__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n'
_IMPORTED = (
    '"""A namespace."""\nfrom pkgutil import extend_path\n\n'
    "__path__ = extend_path(__path__, __name__)\n"
)
_SETUPTOOLS = "__import__('pkg_resources').declare_namespace(__name__)\n"
_EITHER = (
    "try:\n    __import__('pkg_resources').declare_namespace(__name__)\n"
    "except ImportError:\n    __path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
)


def _both(
    tmp_path: Path, cache: Cache, path: str, alpha: str, beta: str, *, turned: bool = False
) -> LaidOut:
    """Two distributions with different content at `path`, in this order or `turned`."""
    wheels = [
        wheel_file(make_wheel(tmp_path, name, files={f"{name}.py": "", path: text}))
        for name, text in (("alpha", alpha), ("beta", beta))
    ]
    return payload_of(wheels[::-1] if turned else wheels, cache, "python3.12")


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (_PKGUTIL, _PKGUTIL_TOO),
        (_PKGUTIL, _IMPORTED),
        (_PKGUTIL, _SETUPTOOLS),
        (_SETUPTOOLS, _EITHER),
        (_IMPORTED, "# nothing\n"),
        ("VALUE = 1\n", "VALUE = 1  # one\n"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_declarations_of_a_namespace_are_one(
    tmp_path: Path, cache: Cache, alpha: str, beta: str, turned: bool
) -> None:
    laid = _both(tmp_path, cache, "shared/__init__.py", alpha, beta, turned=turned)
    assert laid.warnings == laid.notes == ()
    text = laid.payload["python/shared/__init__.py"].source.read_text()
    # Not the one that needs setuptools, where there is another.
    assert text in {alpha, beta} - {_SETUPTOOLS, "# nothing\n"}
    assert "python/alpha.py" in laid.payload
    assert "python/beta.py" in laid.payload


@pytest.mark.parametrize(
    "path",
    [
        *("tests/__init__.py", "docs/conf.py", "examples/run.py"),
        *("README.md", "License.txt", "LICENSE", "setup.py", "setup.cfg", "conftest.py"),
        *("bin/run", "include/x.h", "shared/x.pyi"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_files_that_nothing_imports_are_noted(
    tmp_path: Path, cache: Cache, path: str, turned: bool
) -> None:
    laid = _both(tmp_path, cache, path, "alpha", "beta", turned=turned)
    assert laid.warnings == ()
    (note,) = laid.notes
    assert all(word in note for word in ("alpha", "beta", path))
    entry = laid.payload[f"python/{path}"]
    assert (entry.distribution, entry.source.read_text()) == ("beta", "beta")


@pytest.mark.parametrize(
    "path", ["shared/__init__.py", "shared/tests/x.py", "shared/README.md", "readme.py"]
)
@pytest.mark.parametrize("turned", [False, True])
def test_other_files_are_warned_of_and_the_last_name_wins(
    tmp_path: Path, cache: Cache, path: str, turned: bool
) -> None:
    laid = _both(tmp_path, cache, path, "x = 'alpha'\n", "x = 'beta'\n", turned=turned)
    (warning,) = laid.warnings
    assert all(word in warning for word in ("alpha", "beta", path, "resolve.exclude"))
    entry = laid.payload[f"python/{path}"]
    assert (entry.distribution, entry.source.read_text()) == ("beta", "x = 'beta'\n")


def test_a_package_that_two_distributions_bring_is_one_warning(
    tmp_path: Path, cache: Cache
) -> None:
    wheels = [
        wheel_file(
            make_wheel(
                tmp_path,
                name,
                files={f"cv2/m{number:02}.py": f"x = '{name}'" for number in range(40)},
            )
        )
        for name in ("cv", "cv-headless")
    ]
    laid = payload_of(wheels, cache, "python3.12")
    (warning,) = laid.warnings
    assert all(word in warning for word in ("40 ", "cv2/m00.py", "cv-headless", "resolve.exclude"))
    assert "cv2/m39.py" not in warning
    owners = {entry.distribution for entry in laid.payload if "/cv2/" in entry.path}
    assert owners == {"cv-headless"}
