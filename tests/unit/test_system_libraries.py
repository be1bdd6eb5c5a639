"""Closing over shared libraries: compiled ones, found as the loader would, or named as missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile
from layerpack.payload import FileEntry, Payload
from layerpack.system_libraries import Bundled, close_over
from tests.support.libraries import make_library, readelf

PROFILE = RuntimeProfile.load("python3.12", "x86_64")


def payload(folder: Path, libraries: Mapping[str, Path]) -> Payload:
    """A payload with each library at its path."""
    return Payload(FileEntry.of(file, path, "alpha") for path, file in libraries.items())


def close(
    libraries: Payload,
    sources: Mapping[str, Path] | None = None,
    *,
    bundle: bool = True,
    profile: RuntimeProfile = PROFILE,
) -> tuple[Payload, tuple[Bundled, ...]]:
    """The closed payload; `sources` are the libraries that the builder has."""
    return close_over(libraries, profile, (sources or {}).get, bundle=bundle)


def refusal(libraries: Payload, sources: Mapping[str, Path] | None = None) -> str:
    """Why the payload cannot be closed."""
    with pytest.raises(VerificationError) as caught:
        close(libraries, sources)
    return str(caught.value)


def test_a_library_that_the_runtime_has_is_not_bundled(tmp_path: Path) -> None:
    libc = make_library(tmp_path / "libc.so.6", soname="libc.so.6")
    user = make_library(tmp_path / "user.so", needs=[libc])
    assert "libc.so.6" in readelf(user, "-d")
    before = payload(tmp_path, {"python/a/user.so": user})
    closed, bundled = close(before)
    assert (closed.entries, bundled) == (before.entries, ())


def test_a_missing_library_is_bundled_with_all_that_it_needs(tmp_path: Path) -> None:
    deep = make_library(tmp_path / "libdeep.so.2", soname="libdeep.so.2")
    middle = make_library(tmp_path / "libmiddle.so.1", soname="libmiddle.so.1", needs=[deep])
    user = make_library(tmp_path / "user.so", needs=[middle])
    closed, bundled = close(
        payload(tmp_path, {"python/a/user.so": user}),
        {"libmiddle.so.1": middle, "libdeep.so.2": deep},
    )
    assert [entry.path for entry in closed] == [
        "lib/libdeep.so.2",
        "lib/libmiddle.so.1",
        "python/a/user.so",
    ]
    assert bundled == (
        Bundled(soname="libmiddle.so.1", user="python/a/user.so", source=middle),
        Bundled(soname="libdeep.so.2", user="lib/libmiddle.so.1", source=deep),
    )
    assert closed["lib/libdeep.so.2"].distribution == "system"
    # What was closed once is closed, also without a source.
    again, added = close(closed, bundle=False)
    assert (again.entries, added) == (closed.entries, ())


def test_what_nobody_has_is_named_with_its_user(tmp_path: Path) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    other = make_library(tmp_path / "libother.so.3", soname="libother.so.3")
    user = make_library(tmp_path / "user.so", needs=[gone, other])
    assert refusal(payload(tmp_path, {"python/a/user.so": user})) == (
        "python3.12 on x86_64 lacks shared libraries:\n"
        "  libgone.so.1, needed by python/a/user.so\n"
        "  libother.so.3, needed by python/a/user.so\n"
        "Install the library on this machine, or build on a system that has it."
    )


def test_a_missing_library_of_a_bundled_one_is_named_too(tmp_path: Path) -> None:
    deep = make_library(tmp_path / "libdeep.so.2", soname="libdeep.so.2")
    middle = make_library(tmp_path / "libmiddle.so.1", soname="libmiddle.so.1", needs=[deep])
    user = make_library(tmp_path / "user.so", needs=[middle])
    text = refusal(payload(tmp_path, {"python/a/user.so": user}), {"libmiddle.so.1": middle})
    assert "libdeep.so.2, needed by lib/libmiddle.so.1" in text


def test_nothing_is_bundled_where_the_recipe_says_none(tmp_path: Path) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / "user.so", needs=[gone])
    with pytest.raises(VerificationError) as caught:
        close(payload(tmp_path, {"python/a/user.so": user}), {"libgone.so.1": gone}, bundle=False)
    assert "libgone.so.1, needed by python/a/user.so" in caught.value.message
    assert caught.value.hint == "Set `system-libraries: auto` to bundle them."


@pytest.mark.parametrize("old_rpath", [False, True], ids=["RUNPATH", "RPATH"])
@pytest.mark.parametrize("origin", ["$ORIGIN", "${ORIGIN}"])
def test_a_library_beside_its_user_is_found_by_origin(
    tmp_path: Path, origin: str, old_rpath: bool
) -> None:
    def inner(name: str, version: str) -> Path:
        return make_library(
            tmp_path / name / "libinner.so.1",
            soname="libinner.so.1",
            source="int pretended(void) { return 1; }",
            versions=f"{version} {{ global: pretended; local: *; }};",
        )

    # Two of one name, as auditwheel's folders have them: the user's own is the one that counts.
    other, own = inner("a", "INNER_1"), inner("b", "INNER_2")
    user = make_library(
        tmp_path / "user.so",
        source="int pretended(void); int value(void) { return pretended(); }",
        needs=[own],
        rpath=f"/nowhere:{origin}/../b.libs",
        old_rpath=old_rpath,
    )
    assert ("(RPATH)" if old_rpath else "(RUNPATH)") in readelf(user, "-d")
    libraries = {
        "python/a.libs/libinner.so.1": other,
        "python/b/user.so": user,
        "python/b.libs/libinner.so.1": own,
    }
    closed, bundled = close(payload(tmp_path, libraries))
    assert (len(closed), bundled) == (3, ())
    # Without it, the first of the name is what is loaded, and lacks the version.
    text = refusal(
        payload(tmp_path, {path: file for path, file in libraries.items() if file is not own})
    )
    assert "python/b/user.so needs INNER_2 of libinner.so.1, which python/a.libs/" in text


def test_a_library_that_another_one_loads_counts_as_found(tmp_path: Path) -> None:
    # As torch's and MXNet's extensions do: the package loads its main library first.
    main = make_library(tmp_path / "libmain.so", soname="libmain.so")
    user = make_library(tmp_path / "user.so", needs=[main])
    libraries = {"python/a/user.so": user, "python/a/deep/libmain.so": main}
    assert close(payload(tmp_path, libraries))[1] == ()


def pretend_libc(folder: Path, version: str) -> Path:
    """A library called libc.so.6 that defines one symbol of a version."""
    return make_library(
        folder / f"libc-{version}.so",
        soname="libc.so.6",
        source="int pretended(void) { return 1; }",
        versions=f"{version} {{ global: pretended; local: *; }};",
    )


def user_of(folder: Path, libc: Path) -> Path:
    """A library that calls it."""
    return make_library(
        folder / "user.so",
        source="int pretended(void); int value(void) { return pretended(); }",
        needs=[libc],
    )


def test_a_version_that_is_too_new_is_named_with_the_runtimes(tmp_path: Path) -> None:
    user = user_of(tmp_path, pretend_libc(tmp_path, "GLIBC_2.99"))
    assert "GLIBC_2.99" in readelf(user, "-V")
    assert refusal(payload(tmp_path, {"python/a/user.so": user})) == (
        "libraries are too new for python3.12 on x86_64 (amazon-linux-2023):\n"
        "  python/a/user.so needs GLIBC_2.99 of libc.so.6; the runtime has at most GLIBC_2.34\n"
        "Choose versions with wheels for an older manylinux, or a newer runtime."
    )


@pytest.mark.parametrize(
    ("version", "runtime", "fits"),
    [
        ("GLIBC_2.34", "python3.12", True),
        ("GLIBC_2.4", "python3.12", True),
        ("GLIBC_2.35", "python3.12", False),
        ("GLIBC_2.34", "python3.11", False),
        ("GLIBC_2.26", "python3.11", True),
        ("GLIBCXX_3.4.29", "python3.12", True),
        ("GLIBCXX_3.4.30", "python3.12", False),
        ("GLIBCXX_3.4.9", "python3.11", True),
        ("CXXABI_1.3.14", "python3.12", False),
        ("GLIBC_ABI_DT_RELR", "python3.12", False),
        ("GLIBC_PRIVATE", "python3.12", True),
        ("OTHER_9.9", "python3.12", True),
    ],
)
def test_versions_are_held_against_the_runtimes(
    tmp_path: Path, version: str, runtime: str, fits: bool
) -> None:
    user = user_of(tmp_path, pretend_libc(tmp_path, version))
    assert version in readelf(user, "-V")
    profile = RuntimeProfile.load(runtime, "x86_64")
    libraries = payload(tmp_path, {"python/a/user.so": user})
    if fits:
        assert close(libraries, profile=profile)[1] == ()
    else:
        with pytest.raises(VerificationError, match=f"user.so needs {version} of libc.so.6"):
            close(libraries, profile=profile)


def test_a_bundled_library_must_define_the_versions_asked_of_it(tmp_path: Path) -> None:
    def library(name: str, version: str) -> Path:
        return make_library(
            tmp_path / name / "libgrow.so.1",
            soname="libgrow.so.1",
            source="int pretended(void) { return 1; }",
            versions=f"{version} {{ global: pretended; local: *; }};",
        )

    new, old = library("new", "GROW_2"), library("old", "GROW_1")
    libraries = payload(tmp_path, {"python/a/user.so": user_of(tmp_path, new)})
    assert len(close(libraries, {"libgrow.so.1": new})[1]) == 1
    assert (
        "python/a/user.so needs GROW_2 of libgrow.so.1, which lib/libgrow.so.1 does not define"
        in refusal(libraries, {"libgrow.so.1": old})
    )


def test_many_problems_are_cut_with_their_number(tmp_path: Path) -> None:
    user = user_of(tmp_path, pretend_libc(tmp_path, "GLIBC_2.99"))
    text = refusal(payload(tmp_path, {f"python/a/user{n}.so": user for n in range(11)}))
    assert text.count("GLIBC_2.99") == 8
    assert "  ... and 3 more\n" in text
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    needs = [
        make_library(tmp_path / f"lib{n}.so.1", soname=f"lib{n}.so.1", needs=[gone])
        for n in range(11)
    ]
    text = refusal(
        payload(tmp_path, {"python/a/user.so": make_library(tmp_path / "u.so", needs=needs)})
    )
    assert text.count("needed by") == 8
    assert "  ... and 3 more\n" in text


def test_files_that_only_look_like_libraries_are_passed_over(tmp_path: Path) -> None:
    script = tmp_path / "script.so"
    script.write_text("INPUT(libreal.so)\n")
    user = make_library(
        tmp_path / "user.so", needs=[make_library(tmp_path / "libgone.so", soname="libgone.so")]
    )
    foreign = tmp_path / "foreign.so"
    # e_machine at offset 18 (ELF-64 object file format): aarch64; and a big-endian file.
    data = bytearray(user.read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    foreign.write_bytes(data)
    big = tmp_path / "big.so"
    big.write_bytes(user.read_bytes()[:5] + b"\2" + user.read_bytes()[6:])
    narrow = tmp_path / "narrow.so"
    narrow.write_bytes(user.read_bytes()[:4] + b"\1" + user.read_bytes()[5:])
    libraries = {f"python/a/{file.name}": file for file in (script, foreign, big, narrow)}
    assert close(payload(tmp_path, libraries))[1] == ()


def test_a_damaged_library_is_named(tmp_path: Path) -> None:
    whole = make_library(tmp_path / "whole.so").read_bytes()
    (tmp_path / "half.so").write_bytes(whole[: len(whole) // 2])
    text = refusal(payload(tmp_path, {"python/a/half.so": tmp_path / "half.so"}))
    assert text.startswith("python/a/half.so is no sound library: ")
