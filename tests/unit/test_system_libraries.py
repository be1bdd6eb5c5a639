"""Closing over shared libraries: compiled ones, found as the loader would, or named as missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.errors import VerificationError
from layerpack.limits import RuntimeProfile
from layerpack.payload import FileEntry, Payload
from layerpack.system_libraries import (
    Bundled,
    bundle_missing,
    check_libraries,
    too_new,
    unneeded,
)
from tests.support.libraries import make_library, readelf

PROFILE = RuntimeProfile.load("python3.12", "x86_64")


def payload(folder: Path, libraries: Mapping[str, Path], distribution: str = "alpha") -> Payload:
    """A payload with each library at its path."""
    return Payload(FileEntry.of(file, path, distribution) for path, file in libraries.items())


def close(
    libraries: Payload,
    sources: Mapping[str, Path] | None = None,
    *,
    profile: RuntimeProfile = PROFILE,
) -> tuple[Payload, tuple[Bundled, ...]]:
    """The closed payload, held against the runtime; `sources` are what the builder has."""
    closed, bundled = bundle_missing(libraries, profile, (sources or {}).get)
    assert check_libraries(closed, profile).remarks == ()
    return closed, bundled


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
    assert [(one.soname, one.user, one.entry) for one in bundled] == [
        ("libmiddle.so.1", "python/a/user.so", closed["lib/libmiddle.so.1"]),
        ("libdeep.so.2", "lib/libmiddle.so.1", closed["lib/libdeep.so.2"]),
    ]
    assert closed["lib/libdeep.so.2"].source == deep
    assert closed["lib/libdeep.so.2"].distribution == "system"
    # What was closed once is closed, also without a source.
    again, added = close(closed)
    assert (again.entries, added) == (closed.entries, ())


def test_what_nobody_has_is_named_with_its_user(tmp_path: Path) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    other = make_library(tmp_path / "libother.so.3", soname="libother.so.3")
    user = make_library(tmp_path / "user.so", needs=[gone, other])
    text = refusal(payload(tmp_path, {"python/a/user.so": user}))
    assert text.startswith(
        "python3.12 on x86_64 lacks shared libraries:\n"
        "  libgone.so.1, needed by python/a/user.so\n"
        "  libother.so.3, needed by python/a/user.so\n"
    )
    assert "{libgone.so.1: FILE}" in text
    assert "{optional: [libgone.so.1, libother.so.3]}" in text


def test_a_missing_library_of_a_bundled_one_is_named_too(tmp_path: Path) -> None:
    deep = make_library(tmp_path / "libdeep.so.2", soname="libdeep.so.2")
    middle = make_library(tmp_path / "libmiddle.so.1", soname="libmiddle.so.1", needs=[deep])
    user = make_library(tmp_path / "user.so", needs=[middle])
    text = refusal(payload(tmp_path, {"python/a/user.so": user}), {"libmiddle.so.1": middle})
    assert "libdeep.so.2, needed by lib/libmiddle.so.1" in text


def test_what_is_optional_may_be_missing_and_is_told(tmp_path: Path) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    other = make_library(tmp_path / "libother.so.3", soname="libother.so.3")
    user = make_library(tmp_path / "user.so", needs=[gone, other])
    libraries = payload(tmp_path, {"python/a/user.so": user})
    both = frozenset({"libgone.so.1", "libother.so.3"})
    assert check_libraries(libraries, PROFILE, optional=both).remarks == (
        "libgone.so.1, needed by python/a/user.so, is missing (optional)",
        "libother.so.3, needed by python/a/user.so, is missing (optional)",
    )
    with pytest.raises(VerificationError) as caught:
        check_libraries(libraries, PROFILE, optional=frozenset({"libgone.so.1"}))
    assert "libother.so.3, needed by" in caught.value.message
    assert "libgone.so.1" not in str(caught.value)


def test_what_nothing_needs_any_more_is_not_needed(tmp_path: Path) -> None:
    deep = make_library(tmp_path / "libdeep.so.2", soname="libdeep.so.2")
    middle = make_library(tmp_path / "libmiddle.so.1", soname="libmiddle.so.1", needs=[deep])
    other = make_library(tmp_path / "libother.so.1", soname="libother.so.1")
    first = make_library(tmp_path / "first.so", needs=[middle])
    second = make_library(tmp_path / "second.so", needs=[other])
    closed, bundled = close(
        payload(tmp_path, {"python/a/first.so": first, "python/a/second.so": second}),
        {"libmiddle.so.1": middle, "libdeep.so.2": deep, "libother.so.1": other},
    )
    assert unneeded(closed, PROFILE, bundled) == set()
    # A pass removed the first: its library is not needed, nor what that alone needs.
    left = closed.updated(remove=["python/a/first.so"])
    assert unneeded(left, PROFILE, bundled) == {"lib/libmiddle.so.1", "lib/libdeep.so.2"}
    left = closed.updated(remove=["python/a/first.so", "python/a/second.so"])
    assert unneeded(left, PROFILE, bundled) == {one.entry.path for one in bundled}
    # What a distribution brings itself is its own affair.
    assert unneeded(left, PROFILE, ()) == set()


def test_a_long_version_makes_a_library_all_the_same(tmp_path: Path) -> None:
    # As opencv's wheels have libcrypto: a letter at the end.
    long = make_library(tmp_path / "libx.so.1.1.1k", soname="libx.so.1.1.1k")
    user = make_library(tmp_path / "user.so", needs=[long], rpath="$ORIGIN/../alpha.libs")
    libraries = {"python/alpha/user.so": user, "python/alpha.libs/libx.so.1.1.1k": long}
    assert close(payload(tmp_path, libraries))[1] == ()
    # And it is held against the runtime like every other.
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    needy = make_library(tmp_path / "libneedy.so.1.1.1k", needs=[gone])
    text = refusal(payload(tmp_path, {"python/alpha.libs/libneedy.so.1.1.1k": needy}))
    assert "libgone.so.1, needed by python/alpha.libs/libneedy.so.1.1.1k" in text


def test_no_advice_to_install_where_the_recipe_says_none(tmp_path: Path) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / "user.so", needs=[gone])
    with pytest.raises(VerificationError) as caught:
        check_libraries(payload(tmp_path, {"python/a/user.so": user}), PROFILE, bundling=False)
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


def test_a_library_that_is_needed_by_its_path_is_found_there_alone(tmp_path: Path) -> None:
    library = make_library(tmp_path / "libq.so.1", soname="libq.so.1")
    stand_in = tmp_path / "libq.so"
    stand_in.write_bytes(elf.stand_in("x86_64", "libq.so.1"))
    close(payload(tmp_path, {"python/a/libq.so": stand_in, "python/a/libq.so.1": library}))
    elsewhere = {"python/a/libq.so": stand_in, "lib/libq.so.1": library}
    assert "$ORIGIN/libq.so.1" in refusal(payload(tmp_path, elsewhere))


def test_a_library_that_another_one_loads_counts_as_found(tmp_path: Path) -> None:
    # As torch's and MXNet's extensions do: the package loads its main library first.
    main = make_library(tmp_path / "libmain.so", soname="libmain.so")
    user = make_library(tmp_path / "user.so", needs=[main])
    libraries = {"python/a/user.so": user, "python/a/deep/libmain.so": main}
    assert close(payload(tmp_path, libraries))[1] == ()


def metadata(folder: Path, distribution: str, requires: str) -> FileEntry:
    """A distribution's METADATA that requires another one."""
    file = folder / distribution / "METADATA"
    file.parent.mkdir(parents=True)
    file.write_text(f"Metadata-Version: 2.1\nName: {distribution}\nRequires-Dist: {requires}\n")
    return FileEntry.of(file, f"python/{distribution}-1.0.dist-info/METADATA", distribution)


def test_only_what_a_distribution_depends_on_can_have_loaded_a_library(tmp_path: Path) -> None:
    main = make_library(tmp_path / "libmain.so", soname="libmain.so")
    user = make_library(tmp_path / "user.so", needs=[main])
    owner = FileEntry.of(main, "python/gamma/lib/libmain.so", "gamma")
    stack = payload(tmp_path, {"python/alpha/user.so": user}).updated(add=[owner])
    # A stranger's library may be loaded or not, as chance will have it.
    assert "libmain.so, needed by python/alpha/user.so" in refusal(stack)
    bundled = close(stack, {"libmain.so": main})[1]
    assert [one.entry.path for one in bundled] == ["lib/libmain.so"]
    # Who requires it, in whatever spelling, itself or by another, loads it first.
    direct = metadata(tmp_path / "direct", "alpha", "Gamma (>=1) ; python_version < '3'")
    assert close(stack.updated(add=[direct]))[1] == ()
    by_another = [
        metadata(tmp_path / "far", "alpha", "Be.ta[more]>=1"),
        metadata(tmp_path / "far", "be-ta", "GAMMA"),
    ]
    assert close(stack.updated(add=by_another))[1] == ()
    assert "libmain.so, needed by" in refusal(stack.updated(add=by_another[:1]))
    # And not the other way round.
    reverse = metadata(tmp_path / "reverse", "gamma", "alpha")
    assert "libmain.so, needed by" in refusal(stack.updated(add=[reverse]))


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
    assert refusal(payload(tmp_path, {"python/a/user.so": user})).startswith(
        "libraries are too new for python3.12 on x86_64 (amazon-linux-2023):\n"
        "  python/a/user.so needs GLIBC_2.99 of libc.so.6; the runtime has at most GLIBC_2.34\n"
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
    assert text.startswith("python/a/half.so is not a valid library: ")


def test_a_library_is_bundled_under_a_longer_version_of_its_soname(tmp_path: Path) -> None:
    gomp = make_library(tmp_path / "libgomp.so.1", soname="libgomp.so.1")
    named = make_library(tmp_path / "libgomp.so.1.0.0", soname="libgomp.so.1.0.0")
    user = make_library(tmp_path / "user.so", needs=[named])
    closed, bundled = close(payload(tmp_path, {"python/a/user.so": user}), {"libgomp.so.1": gomp})
    assert [one.entry.path for one in bundled] == ["lib/libgomp.so.1.0.0"]
    assert closed["lib/libgomp.so.1.0.0"].source == gomp
    # And never under a shorter one.
    user = make_library(tmp_path / "other.so", needs=[gomp])
    text = refusal(payload(tmp_path, {"python/a/user.so": user}), {"libgomp.so.1.0.0": named})
    assert "libgomp.so.1, needed by python/a/user.so" in text


def test_a_library_that_a_wheel_installs_beside_the_environments_is_found(tmp_path: Path) -> None:
    # As numba's extension needs that of tbb, which numba does not require.
    tbb = make_library(tmp_path / "libtbb.so.12", soname="libtbb.so.12")
    user = make_library(tmp_path / "user.so", needs=[tbb])
    owner = FileEntry.of(tbb, "python/lib/libtbb.so.12", "tbb")
    libraries = payload(tmp_path, {"python/a/user.so": user}).updated(add=[owner])
    closed, bundled = close(libraries)
    assert [(one.entry.path, one.origin) for one in bundled] == [("lib/libtbb.so.12", "tbb")]
    assert closed["lib/libtbb.so.12"].distribution == "tbb"
    assert closed["python/lib/libtbb.so.12"] == owner


@pytest.mark.parametrize(
    ("name", "source", "doubted"),
    [
        ("pool.cpython-312-x86_64-linux-gnu.so", "int x(void) { return 1; }", True),
        ("pool.abi3.so", "int x(void) { return 1; }", True),
        ("pool.so", "int PyInit_pool(void) { return 1; }", True),
        ("pool.so", "int PyInit_other(void) { return 1; }", False),
        ("libpool.so.1", "int x(void) { return 1; }", False),
    ],
)
def test_what_only_extension_modules_lack_is_left_to_the_proof(
    tmp_path: Path, name: str, source: str, doubted: bool
) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / name, source=source, soname=name, needs=[gone])
    libraries = payload(tmp_path, {f"python/a/{name}": user})
    if not doubted:
        assert f"libgone.so.1, needed by python/a/{name}" in refusal(libraries)
        return
    checked = check_libraries(libraries, PROFILE)
    assert len(checked.remarks) == 1 and "libgone.so.1" in checked.remarks[0]
    assert f"python/a/{name}" in checked.remarks[0]
    # For where there is no proof.
    assert checked.doubt is not None
    assert f"libgone.so.1, needed by python/a/{name}" in checked.doubt.message
    # Where the recipe bundles nothing, and where another library needs it, nothing is in doubt.
    with pytest.raises(VerificationError):
        check_libraries(libraries, PROFILE, bundling=False)
    other = make_library(tmp_path / "libother.so", needs=[user])
    both = payload(tmp_path, {f"python/a/{name}": user, "python/a/libother.so": other})
    with pytest.raises(VerificationError):
        check_libraries(both, PROFILE)


def test_a_copy_that_is_too_new_is_refused_with_the_reason(tmp_path: Path) -> None:
    libc = pretend_libc(tmp_path, "GLIBC_2.36")
    copy = user_of(tmp_path, libc)
    problem = too_new(copy, PROFILE)
    assert problem == "GLIBC_2.36 of libc.so.6; the runtime has at most GLIBC_2.34"
    assert too_new(user_of(tmp_path, pretend_libc(tmp_path, "GLIBC_2.34")), PROFILE) == ""
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / "libuser.so", needs=[gone])
    with pytest.raises(VerificationError) as caught:
        check_libraries(
            payload(tmp_path, {"python/a/libuser.so": user}),
            PROFILE,
            refused={"libgone.so.1": f"this machine's copy needs {problem}"},
        )
    assert "python/a/libuser.so (this machine's copy needs GLIBC_2.36" in caught.value.message
    # To install what is there, or to choose other wheels, would not help.
    assert "Install" not in caught.value.hint and "manylinux" not in caught.value.hint
    assert "{libgone.so.1: FILE}" in caught.value.hint
