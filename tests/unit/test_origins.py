"""Finding in an error what Lambda's runtime lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.emulator.host_system import this_system
from layerpack.errors import VerificationError
from layerpack.interpreters import require_interpreter
from layerpack.limits import RuntimeProfile
from layerpack.origins import Lack, explained, find_lack, need_own, unfound_programs
from layerpack.payload import FileEntry
from tests.support.host import foreign_library
from tests.support.libraries import make_library
from tests.support.recipes import HERE, load, payload_in

PROFILE = RuntimeProfile.load("python3.12", "x86_64")
SONAME, PATH = foreign_library()
STEM = SONAME.partition(".so")[0]
HERE_PROFILE = RuntimeProfile.load(HERE, "x86_64")
SYSTEM = this_system(require_interpreter(HERE_PROFILE, "for the tests"), HERE)


@pytest.mark.parametrize(
    "text",
    [
        f"OSError: {SONAME}: cannot open shared object file: No such file or directory",
        f"ImportError: {PATH}: cannot open shared object file: No such file or directory",
        # As cffi and python-magic say it, the first by the name of Debian's package.
        f"OSError: cannot load library '{SONAME.replace('.so.', '-')}': no such file",
        f"ImportError: failed to find {STEM}.  Check your installation",
    ],
)
def test_a_library_is_named_by_its_soname(text: str) -> None:
    lack = find_lack(text, PROFILE, SYSTEM)
    assert lack is not None
    assert (lack.name, lack.is_program, lack.place) == (SONAME, False, str(PATH))
    assert f"optional: [{SONAME}]" in lack.hint


def test_a_library_that_nobody_has_is_named_too() -> None:
    lack = find_lack("OSError: libno-such.so.1: cannot open shared object file", PROFILE, SYSTEM)
    assert lack is not None
    assert (lack.name, lack.place) == ("libno-such.so.1", "")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "line",
    [
        *("a", "/", ".", "/a", "lib", "lib-", ": ", "sh: ", "sh: a: ", "1: ", "\n"),
        *("cannot load library '", "failed to find lib", "Command '", "Command a "),
        *("No such file or directory: '", "No such file or directory: '/a"),
    ],
)
@pytest.mark.parametrize("begin", ["No such file or directory: '", "Command '", "sh: ", ""])
def test_a_large_error_that_repeats_itself_is_read_once(begin: str, line: str) -> None:
    text = begin + line * (2_000_000 // len(line)) + "!"
    assert find_lack(text, PROFILE, SYSTEM) is None
    assert unfound_programs(text, PROFILE, SYSTEM, ()) == []


@pytest.mark.parametrize(
    "text",
    [
        "FileNotFoundError: [Errno 2] No such file or directory: 'gcc'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/gcc'",
        "CalledProcessError: Command 'gcc --version' returned non-zero exit status 127.",
        "CalledProcessError: Command '['gcc', '-v']' returned non-zero exit status 127.",
    ],
)
def test_a_program_is_named(text: str) -> None:
    lack = find_lack(text, PROFILE, SYSTEM)
    assert lack is not None
    assert (lack.name, lack.is_program) == ("gcc", True)
    assert "assets" in lack.hint


def test_nothing_untrue_is_said_of_a_program_that_only_the_emulator_lacks() -> None:
    lack = Lack(name="curl", is_program=True, place="/usr/bin/curl", system="x")
    assert lack.sentence(PROFILE).startswith("python3.12 has curl")


@pytest.mark.parametrize(
    "text",
    [
        "FileNotFoundError: [Errno 2] No such file or directory: 'value.txt'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/opt/assets/sort'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/opt/assets/model/gcc'",
        "ValueError: libraries are not librarians",
        f"answer.format is '{STEM} blob' from the plain install, '' from the layers",
        "OSError: libm.so.6 is odd",
        "ModuleNotFoundError: No module named 'gcc'",
    ],
)
def test_other_errors_are_not_about_this_machine(text: str) -> None:
    assert find_lack(text, PROFILE, SYSTEM) is None
    error = VerificationError(text, "hint")
    assert explained(error, PROFILE, SYSTEM) is error


@pytest.mark.parametrize("isolated", [False, True])
def test_files_that_a_function_makes_are_its_own(tmp_path: Path, isolated: bool) -> None:
    recipe = load(tmp_path, runtime=HERE)
    own = ("/tmp/x.so", "/memfd:jit (deleted)", "/dev/zero", "/SYSV00000000")
    need_own(dict.fromkeys(own, "the function"), recipe, SYSTEM, isolated=isolated)
    # A folder of that name elsewhere is nobody's.
    for path in (str(PATH.resolve()), f"/srv/layerpack-sandbox-x/{SONAME}"):
        with pytest.raises(VerificationError) as caught:
            need_own({path: "the function"}, recipe, SYSTEM, isolated=isolated)
        assert SONAME in caught.value.message


def test_what_the_payload_has_is_not_lacking(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in (SONAME, "gcc"):
        entry = FileEntry.of(tmp_path / "file", f"python/a.libs/{name}", "alpha")
        texts = (f"{SONAME}: cannot open shared object file", "No such file or directory: 'gcc'")
        lacks = [find_lack(text, PROFILE, SYSTEM, [entry]) for text in texts]
        assert name not in [lack.name for lack in lacks if lack] and any(lacks)


def test_an_error_is_explained_once() -> None:
    error = explained(
        VerificationError(f"workload ask: failed to find {STEM}", "x"), PROFILE, SYSTEM
    )
    assert SONAME in error.message and SONAME in error.hint and error.hint.endswith(" x")
    assert explained(error, PROFILE, SYSTEM).message == error.message


def test_programs_that_a_shell_does_not_find_are_named(tmp_path: Path) -> None:
    printed = (
        "/bin/sh: 1: convert: not found\nsh: line 3: /usr/bin/gs: command not found\n"
        "bash: ffmpeg: command not found\nsh: own: not found\nsh: 1: ls: not found\n"
        "key: not found\nconvert: 404 not found\nthe shell sh: says x: not found here\n"
    )
    has = payload_in(tmp_path, {"bin/own": ""})
    found = unfound_programs(printed, PROFILE, SYSTEM, has)
    assert [lack.name for lack in found] == ["convert", "ffmpeg", "gs"]


def test_all_libraries_that_were_opened_are_named_at_once_and_no_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerpack.origins._NO_FILES", ())
    deep = make_library(tmp_path / "libdeep.so.1", soname="libdeep.so.1")
    one = make_library(tmp_path / "libone.so.1", soname="libone.so.1", needs=[deep])
    other = make_library(tmp_path / "libother.so.1", soname="libother.so.1")
    mapped = dict.fromkeys(map(str, (deep, one, other)), "the function")

    def refusal(more: str = "") -> str:
        recipe = load(tmp_path, runtime=HERE, more=more)
        with pytest.raises(VerificationError) as caught:
            need_own(mapped, recipe, SYSTEM, isolated=True)
        return str(caught.value)

    told = refusal()
    assert "no library libone.so.1" in told and "no library libother.so.1" in told
    assert "optional: [libone.so.1, libother.so.1]" in told
    assert "libdeep" not in told
    # Whoever does without a library may have opened the other by itself.
    told = refusal("system-libraries: {optional: [libone.so.1]}")
    assert "no library libdeep.so.1" in told and "no library libother.so.1" in told
