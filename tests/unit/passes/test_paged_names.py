"""Names that binding must leave, since others may look them up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from layerpack.passes.paged_names import UnknownNamesError, kept_names
from layerpack.payload import FileEntry
from tests.support.code import compiled
from tests.support.recipes import payload_in

LIBRARY = "namespace far { int near(int x) { return x + 1; } int own(int x) { return x + 2; } }\n"
USER = 'namespace far { int near(int); }\nextern "C" int user() { return far::near(1); }\n'
NEAR, OWN = "_ZN3far4nearEi", "_ZN3far3ownEi"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that defines the two names."""
    return compiled(tmp_path_factory.mktemp("library") / "a.so", LIBRARY, language="c++")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that imports one of them."""
    return compiled(tmp_path_factory.mktemp("user") / "user.so", USER, language="c++")


def kept(library: Path, folder: Path, *function: FileEntry, **others: bytes) -> frozenset[str]:
    """The names to keep of `library`, beside other files of the layers and a function package."""
    files = {"python/a.so": library.read_bytes(), **others}
    return kept_names(payload_in(folder, files), function, "x86_64")["python/a.so"]


def test_what_nobody_else_knows_need_not_stay(library: Path, tmp_path: Path) -> None:
    assert not {NEAR, OWN} & kept(library, tmp_path)


@pytest.mark.parametrize("path", ["python/b.so", "bin/tool", "bin/tool-3.1", "python/x.data"])
def test_whatever_a_user_is_called_its_names_stay(
    library: Path, user: Path, tmp_path: Path, path: str
) -> None:
    names = kept(library, tmp_path, **{path: user.read_bytes()})
    assert NEAR in names and OWN not in names


def test_names_that_the_function_package_looks_up_stay(
    library: Path, user: Path, tmp_path: Path
) -> None:
    source = tmp_path / "app.py"
    source.write_text(f"library[{OWN!r}]\n")
    function = [FileEntry.of(user, "native/user.so", "function")]
    assert NEAR in kept(library, tmp_path / "one", *function)
    function = [FileEntry.of(source, "app.py", "function")]
    assert kept(library, tmp_path / "two", *function) >= {OWN}


@pytest.mark.parametrize("options", [["--hash-style=both"], ["--hash-style=gnu"]])
def test_a_plugin_that_defines_nothing_counts_too(
    library: Path, tmp_path: Path, options: list[str]
) -> None:
    source = "namespace far { int near(int); }\nstatic int used = far::near(1);\n"
    plugin = compiled(
        tmp_path / "plugin.so",
        source,
        *(f"-Wl,{option}" for option in options),
        language="c++",
    )
    subprocess.run(["readelf", "-d", plugin], check=True, capture_output=True)
    assert NEAR in kept(library, tmp_path / "tree", **{"python/plugin.so": plugin.read_bytes()})


def test_a_library_whose_names_cannot_be_read_is_told(
    library: Path, user: Path, tmp_path: Path
) -> None:
    data = bytearray(user.read_bytes())
    headers = subprocess.run(
        ["readelf", "-SW", user], check=True, capture_output=True, text=True
    ).stdout
    line = next(line for line in headers.splitlines() if " .gnu.hash " in line)
    offset = int(line.split("GNU_HASH")[1].split()[1], 16)
    # The number of buckets: far more than there is room for.
    data[offset : offset + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(UnknownNamesError) as caught:
        kept(library, tmp_path, **{"python/odd.so": bytes(data)})
    assert caught.value.path == "python/odd.so"


def test_a_library_that_only_the_loader_takes_is_told(library: Path, tmp_path: Path) -> None:
    # With the C library's versions, and the name as C++ has it.
    source = f"int near(int) __asm__({NEAR!r});".replace("'", '"')
    source += "\n#include <stdlib.h>\nvoid *some(void) { return malloc(near(2)); }\n"
    user = compiled(tmp_path / "user.so", source)
    data = bytearray(user.read_bytes())
    headers = subprocess.run(
        ["readelf", "-SW", user], check=True, capture_output=True, text=True
    ).stdout
    line = next(line for line in headers.splitlines() if " .dynamic " in line)
    start, size = (int(word, 16) for word in line.split("DYNAMIC")[1].split()[1:3])
    for at in range(start, start + size, 16):
        # DT_VERNEEDNUM: one more than there are, which glibc does not count.
        if int.from_bytes(data[at : at + 8], "little") == 0x6FFFFFFF:
            data[at + 8] += 1
    assert data != user.read_bytes()
    with pytest.raises(UnknownNamesError):
        kept(library, tmp_path, **{"python/odd.so": bytes(data)})


def test_files_for_other_machines_are_nobodys_users(library: Path, tmp_path: Path) -> None:
    # A 32-bit file begins like this.
    foreign = b"\x7fELF\x01\x01\x01" + bytes(80)
    assert not {NEAR, OWN} & kept(library, tmp_path, **{"python/foreign.so": foreign})
