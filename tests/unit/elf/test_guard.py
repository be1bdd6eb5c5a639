"""Guarding: a library asks for signals through the pager, and is the same otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.index import PAGE
from layerpack.elf.rebuild import verify
from tests.support.libraries import readelf
from tests.unit.elf.libraries import SOURCE, answer_of, debug_library, patchelf
from tests.unit.elf.pageable import complaints, pageable_library, stub_pager

PAGER = "liblayerpack_pager.so.1"
#: It asks for signals by three names, one of which it has under another, too.
ASKING = (
    SOURCE
    + """
#include <signal.h>
typedef void (*handler)(int);
extern handler __sysv_signal(int, handler);
void ask(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, 0);
    signal(SIGSEGV, SIG_IGN);
    __sysv_signal(SIGBUS, SIG_IGN);
}
"""
)
IMPORTS = ("__sysv_signal", "pthread_sigmask", "signal")


def asking(path: Path, *options: str) -> Path:
    """A library that asks for signals."""
    return debug_library(path, *options, source=ASKING)


def guarded(path: Path, options: elf.GuardOptions | None = None) -> tuple[Path, elf.GuardResult]:
    """The guarded library, in a folder beside it."""
    destination = path.with_name("guarded") / path.name
    result = elf.guard(path, destination, options or elf.GuardOptions())
    assert isinstance(result, elf.GuardResult), result
    return destination, result


def refused(path: Path) -> str:
    """Why a library is refused; nothing was written."""
    destination = path.with_name("refused") / path.name
    result = elf.guard(path, destination, elf.GuardOptions())
    assert isinstance(result, elf.Refusal), result
    assert not destination.parent.exists() or not list(destination.parent.iterdir())
    return result.reason


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-Wl,-z,noseparate-code",),
        ("-Wl,-z,max-page-size=65536",),
        ("-Wl,-z,now", "-Wl,-z,relro"),
        ("-Wl,--hash-style=sysv",),
        ("-fuse-ld=gold",),
    ],
)
def test_it_is_the_same_but_for_its_imports(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = asking(tmp_path / "lib.so", *options)
    result, record = guarded(path)
    assert verify(path, result) is None
    assert complaints(result) == ""
    assert sorted(record.renamed_imports) == sorted(IMPORTS)
    before, after = elf.read_file(path), elf.read_file(result)
    assert after.needed == (*before.needed, PAGER)
    assert (after.rpath, after.runpath) == (None, None)
    assert "NODELETE" in readelf(result, "-d")
    names = result.read_bytes()
    for name in ("layerpack_sysv_signal", "layerpack_pthread_sigmask", "layerpack_signal"):
        assert b"\0%b\0" % name.encode() in names


def test_it_answers_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With whatever pager there is: none of its code is paged. The stub has two of the functions,
    and the library does not call the others."""
    path = debug_library(
        tmp_path / "lib.so",
        source=SOURCE + "#include <signal.h>\nvoid ask(void) { signal(SIGSEGV, SIG_IGN); }",
    )
    result, _ = guarded(path)
    stub_pager(tmp_path / "pager")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "pager"))
    assert answer_of(result) == answer_of(path) == 42


def test_it_costs_some_pages_and_nothing_is_paged(tmp_path: Path) -> None:
    """Debug information goes, as when a library is packed; of what is loaded, nothing does."""
    path = asking(tmp_path / "lib.so", "-g0", "-s")
    result, record = guarded(path)
    assert record.original_bytes == path.stat().st_size
    assert record.guarded_bytes == result.stat().st_size
    # Sections go; then come the dynamic section, and names, headers and index behind it.
    assert record.guarded_bytes - record.original_bytes <= 3 * PAGE
    segment = next(s for s in elf.read_file(result).segments if s.type == 0x6C706167)
    index = elf.read_index(result.read_bytes()[segment.offset :])
    assert (index.ranges, index.windows, index.frames_size) == ((), (), 0)
    assert index.name == "lib.so"


def test_the_same_bytes_come_out_and_it_can_replace_its_source(tmp_path: Path) -> None:
    path = asking(tmp_path / "lib.so")
    first, _ = guarded(path)
    data = first.read_bytes()
    assert guarded(path)[0].read_bytes() == data
    assert isinstance(elf.guard(path, path, elf.GuardOptions()), elf.GuardResult)
    assert path.read_bytes() == data


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    path = asking(tmp_path / "lib.so")
    once, _ = guarded(path)
    assert not elf.asks_for_signals(once)
    assert refused(once) == "it is packed already"
    # What is packed asks the pager already.
    large = pageable_library(tmp_path / "large.so")
    assert elf.asks_for_signals(large)
    assert isinstance(elf.pack(large, large, elf.PackOptions(level=3)), elf.PackResult)
    assert not elf.asks_for_signals(large)
    assert refused(large) == "it is packed already"
    assert isinstance(elf.pack(once, tmp_path / "no.so", elf.PackOptions()), elf.Refusal)


def test_refusals_name_the_reason(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "quiet.so")
    assert not elf.asks_for_signals(path)
    assert refused(path) == "it asks for no signals"
    # A function of its own that has such a name is no import.
    path = debug_library(tmp_path / "own.so", source="int sigset(void) { return 1; }")
    assert not elf.asks_for_signals(path)
    assert refused(path) == "it asks for no signals"
    path = asking(tmp_path / "first.so", "-Wl,-z,initfirst")
    assert refused(path) == "it is initialised before the pager can be"
    path = asking(tmp_path / "pager.so", f"-Wl,-soname,{PAGER}")
    assert refused(path) == "it is the pager"
    path = asking(tmp_path / "appended.so")
    path.write_bytes(path.read_bytes() + b"PK")
    assert refused(path) == "it carries data after its end, which it may read"
    path = tmp_path / "text.so"
    path.write_bytes(b"INPUT(libc.so.6)")
    assert refused(path) == "it is too short for an ELF header"


def test_a_wrong_result_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed import keeps its version: the check must see it, and the destination stay."""
    monkeypatch.setattr("layerpack.elf.format.VER_NDX_GLOBAL", 2)
    path = asking(tmp_path / "lib.so")
    destination = tmp_path / "guarded.so"
    destination.write_bytes(b"before")
    result = elf.guard(path, destination, elf.GuardOptions())
    assert isinstance(result, elf.Refusal)
    assert result.reason.startswith("it would not be the same: ")
    assert destination.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == [destination, path]


RPATH, RUNPATH = "--disable-new-dtags", "--enable-new-dtags"


@pytest.mark.parametrize("how", ["packed", "guarded"])
@pytest.mark.parametrize(
    ("tag", "inherits", "after"),
    [
        # A new one leaves LD_LIBRARY_PATH before it, unless what it turns off is needed.
        (None, False, (None, "$ORIGIN/../lib")),
        (None, True, ("$ORIGIN/../lib", None)),
        # One that is there is what it was, and goes on; it inherits nothing, or needs no other.
        (RPATH, False, ("$ORIGIN/x:$ORIGIN/../lib", None)),
        (RPATH, True, ("$ORIGIN/x:$ORIGIN/../lib", None)),
        (RUNPATH, False, (None, "$ORIGIN/x:$ORIGIN/../lib")),
        (RUNPATH, True, (None, "$ORIGIN/x:$ORIGIN/../lib")),
    ],
)
def test_the_search_path(
    tmp_path: Path,
    how: str,
    tag: str | None,
    inherits: bool,
    after: tuple[str | None, str | None],
) -> None:
    """`after`: its DT_RPATH and DT_RUNPATH."""
    options = [f"-Wl,{tag},-rpath,$ORIGIN/x"] if tag else []
    path = pageable_library(tmp_path / "lib.so", *options)
    result = tmp_path / "result.so"
    if how == "packed":
        packing = elf.PackOptions(level=3, pager_runpath="../lib", inherits_rpath=inherits)
        assert isinstance(elf.pack(path, result, packing), elf.PackResult)
    else:
        guarding = elf.GuardOptions(pager_runpath="../lib", inherits_rpath=inherits)
        assert isinstance(elf.guard(path, result, guarding), elf.GuardResult)
    found = elf.read_file(result)
    assert (found.rpath, found.runpath) == after
    assert verify(path, result) is None


def test_a_path_of_both_kinds_keeps_the_one_that_counts(tmp_path: Path) -> None:
    """The loader ignores DT_RPATH beside DT_RUNPATH, so that is what gets longer."""
    path = asking(tmp_path / "lib.so", f"-Wl,{RPATH},-rpath,$ORIGIN/old")
    patchelf(path, "--set-rpath", "$ORIGIN/new")
    assert elf.read_file(path).runpath == "$ORIGIN/new"
    result, _ = guarded(path, elf.GuardOptions(pager_runpath=".", inherits_rpath=True))
    assert elf.read_file(result).runpath == "$ORIGIN/new:$ORIGIN/."
