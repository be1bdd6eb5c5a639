"""Finding a library in a wheel, under the name that auditwheel gave it."""

from __future__ import annotations

import pytest

from layerpack.builders.carriers import carries


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("libexpat.so.1", True),
        ("libexpat.so.1.6.8", True),
        ("libexpat-09c47d4c.so.1.6.8", True),
        ("libexpat-fiona-09c47d4c.so.1.6.8", True),
        ("libexpatw-09c47d4c.so.1.6.8", False),
        ("libexpat-09c47d4c.so.2.0.0", False),
        ("libexpat-09c47d4c.so.10", False),
        ("libexpat.so", False),
        ("notlibexpat.so.1", False),
    ],
)
def test_a_library_is_known_by_its_soname(name: str, expected: bool) -> None:
    assert carries(name, "libexpat.so.1") is expected
