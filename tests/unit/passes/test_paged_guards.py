"""Libraries that stay plain beside packed ones: what becomes of how they ask for signals."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack import elf
from layerpack.elf.pager import PAGER_SONAME
from layerpack.passes.api import KEPT, RESERVE, Keep, Rewrite
from layerpack.passes.paged import Paged
from layerpack.passes.paged_paths import SearchPaths
from layerpack.passes.runner import applied, run_passes
from layerpack.payload import FileEntry, Payload
from layerpack.system_libraries import check_libraries
from tests.support.code import ANSWER, compiled
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of
from tests.unit.passes.paged_edits import PACKED, planned, rewritten

TAKES = """
#include <signal.h>
#include <unistd.h>
static void taken(int number) { _exit(number); }
__attribute__((constructor)) static void start(void) { signal(SIGSEGV, taken); }
"""
FEW = "it has only 0 pages that can be paged"
THROUGH = "it asks for signals through the pager"
PAST = "it asks for signals past the pager"


@pytest.fixture(scope="module")
def taker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small library that takes SIGSEGV as soon as it is loaded."""
    return compiled(tmp_path_factory.mktemp("taker") / "taker.so", TAKES)


def ended(payload: Payload, root: Path, *, search: bool) -> tuple[int, str]:
    """How a process ends, and what it says, that loads a.so and taker.so of alpha, and then runs
    all code of the first."""
    payload.materialise(root)
    code = "import ctypes, sys; a, b = map(ctypes.CDLL, sys.argv[1:]); print(a.answer())"
    libraries = [str(root / f"python/alpha/{name}.so") for name in ("a", "taker")]
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    if search:
        environment["LD_LIBRARY_PATH"] = str(root / "lib")
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *libraries],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_stays_plain_asks_through_the_pager(tmp_path: Path, large: Path, taker: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large, "alpha/taker.so": taker}})
    context = context_in(tmp_path, more=PACKED)
    outcome = run_passes(payload, [Paged()], context)
    remarks = {one.path: one for one in outcome.remarks}
    told = remarks["python/alpha/taker.so"]
    assert told.reason == f"{FEW}; {THROUGH}"
    assert told.paged is None
    after = outcome.payload
    library = elf.read_file(after["python/alpha/taker.so"].source)
    assert library.needed[-1] == PAGER_SONAME
    assert library.runpath == "$ORIGIN/../../lib"
    assert check_libraries(after, context.profile).remarks == ()
    for search in (True, False):
        assert ended(after, tmp_path / f"opt{search}", search=search) == (0, f"{ANSWER}\n")


def test_one_that_asks_for_nothing_is_left_alone(tmp_path: Path, large: Path) -> None:
    quiet = compiled(tmp_path / "quiet.so", "int quiet(void) { return 1; }")
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large, "alpha/quiet.so": quiet}})
    edits = planned(payload, context_in(tmp_path, more=PACKED))
    assert kept(edits) == {"alpha/quiet.so": FEW}
    assert rewritten(edits).keys() == {"alpha/a.so"}


def test_what_the_recipe_keeps_is_left_alone_and_it_is_told(
    tmp_path: Path, large: Path, taker: Path
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/a.so": large, "alpha/taker.so": taker}})
    more = "native: {store: paged, keep-plain: ['alpha/taker.so']}\n"
    edits = planned(payload, context_in(tmp_path, more=more))
    assert kept(edits) == {"alpha/taker.so": f"kept plain by native.keep-plain; {PAST}"}
    assert rewritten(edits).keys() == {"alpha/a.so"}
    edits = planned(payload, context_in(tmp_path, "keep: ['alpha/taker.so']", more=PACKED))
    assert kept(edits) == {"alpha/taker.so": f"{KEPT}; {PAST}"}


def test_what_cannot_be_changed_is_told_with_the_cause(
    tmp_path: Path, large: Path, taker: Path
) -> None:
    # What shares a page cannot be moved apart; too little code for a page is what is seen first.
    crowded = compiled(tmp_path / "crowded.so", TAKES, "-Wl,-z,max-page-size=64")
    tree: Tree = {
        "alpha": {"a.so": large, "appended.so": taker.read_bytes() + b"PK", "crowded.so": crowded}
    }
    payload = payload_of(tmp_path, tree)
    edits = planned(payload, context_in(tmp_path, more=PACKED))
    assert kept(edits) == {
        # The same words as for packing, once.
        "appended.so": f"it carries data after its end, which it may read; {PAST}",
        "crowded.so": f"{FEW}; {PAST}, as two of its segments share a page",
    }


def test_without_packed_libraries_nothing_is_guarded(
    tmp_path: Path, large: Path, taker: Path
) -> None:
    """No pager comes along then."""
    alone = payload_of(tmp_path / "alone", {"alpha": {"taker.so": taker}})
    assert planned(alone, context_in(tmp_path, more=PACKED)) == [
        Keep(path="python/taker.so", reason=FEW)
    ]
    both = payload_of(tmp_path / "both", {"alpha": {"a.so": large, "taker.so": taker}})
    edits = planned(both, context_in(tmp_path, room=RESERVE))
    assert set(kept(edits)) == {"a.so", "taker.so"}
    assert not any(PAST in edit.reason or THROUGH in edit.reason for edit in edits)


def test_those_of_another_machine_are_left_alone(tmp_path: Path, large: Path) -> None:
    asks = "int signal(int, void *); int ask(void) { return signal(11, 0); }"
    taker = compiled(tmp_path / "arm.so", asks, machine="aarch64 zig")
    payload = payload_of(tmp_path, {"alpha": {"a.so": large, "arm.so": taker}})
    edits = planned(payload, context_in(tmp_path, more=PACKED))
    assert kept(edits) == {"arm.so": "it is for aarch64"}


@pytest.mark.parametrize("damage", ["edited", "gone"])
def test_results_come_from_the_cache_while_they_are_whole(
    tmp_path: Path, large: Path, taker: Path, damage: str
) -> None:
    payload = payload_of(tmp_path, {"alpha": {"a.so": large, "taker.so": taker}})
    context = context_in(tmp_path, more=PACKED)
    first = planned(payload, context)
    (made,) = context.cache.glob("paged/guarded/*.so")
    inode, data = made.stat().st_ino, made.read_bytes()
    assert planned(payload, context) == first
    assert made.stat().st_ino == inode
    if damage == "edited":
        made.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        made.unlink()
    assert planned(payload, context) == first
    assert made.read_bytes() == data


THIRD = "int third(void) { return 3; }"
SECOND = "\n#include <signal.h>\nint third(void);\n"
SECOND += "int second(void) { signal(SIGUSR1, SIG_IGN); return third(); }\n"
FIRST = "int second(void); int first(void) { return second(); }"


def chain(folder: Path, tag: str, more: str) -> Payload:
    """A payload of three libraries, where the first knows by its DT_RPATH or DT_RUNPATH where the
    others are; `more` is code of the second."""
    compiled(folder / "vendored/libthird.so", THIRD)
    compiled(folder / "libsecond.so", more + SECOND, f"-L{folder}/vendored", "-lthird")
    search = f"-Wl,{tag},-rpath,$ORIGIN:$ORIGIN/vendored,-rpath-link,{folder}/vendored"
    compiled(folder / "libfirst.so", FIRST, f"-L{folder}", "-lsecond", search)
    names = ("libfirst.so", "libsecond.so", "vendored/libthird.so")
    return payload_of(folder / "payload", {"alpha": {name: folder / name for name in names}})


def test_an_inherited_rpath_goes_on_to_be_inherited(tmp_path: Path, large: Path) -> None:
    """Packed or guarded, the second finds the third by the path of the first."""
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).first())"
    filler = "\n".join(
        f"int filler{n}(int x) {{ {'x = x * 3 + (x >> 2); ' * 150} return x; }}" for n in range(200)
    )
    for number, more in enumerate((filler, "")):
        payload = chain(tmp_path / str(number), "--disable-new-dtags", more)
        if not more:
            extra = payload_of(tmp_path / "large", {"beta": {"beta.so": large}})
            payload = payload.updated(add=list(extra))
        edits = planned(payload, context_in(tmp_path, more=PACKED))
        assert "libsecond.so" in rewritten(edits)
        after = applied(payload, edits)
        second = elf.read_file(after["python/libsecond.so"].source)
        assert (second.rpath, second.runpath) == ("$ORIGIN/../lib", None)
        root = tmp_path / f"opt{number}"
        after.materialise(root)
        environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, root / "python/libfirst.so"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_who_inherits_an_rpath(tmp_path: Path, large: Path) -> None:
    old = chain(tmp_path / "old", "--disable-new-dtags", "")
    paths = SearchPaths(old)
    inherits = {e.path: paths.inherits_rpath(e.path) for e in old}
    # The last needs nothing of the payload's.
    assert inherits == {
        "python/libfirst.so": True,
        "python/libsecond.so": True,
        "python/vendored/libthird.so": False,
    }
    # A DT_RUNPATH is for its own library alone.
    new = chain(tmp_path / "new", "--enable-new-dtags", "")
    assert not any(SearchPaths(new).inherits_rpath(entry.path) for entry in new)
    # What lies in lib/ is found there, beside the pager.
    moved = payload_of(tmp_path / "moved", {"system": {"libthird.so": large}}, "lib/")
    there = old.updated(remove=["python/vendored/libthird.so"], add=list(moved))
    assert not SearchPaths(there).inherits_rpath("python/libsecond.so")
    assert SearchPaths(there).pager_folder("python/vendored/x.so") == "../../lib"


def test_a_plugin_of_any_name_asks_through_the_pager(
    tmp_path: Path, large: Path, taker: Path
) -> None:
    payload = payload_of(
        tmp_path, {"alpha": {"alpha/a.so": large, "alpha/plugin": taker, "alpha/plain": large}}
    )
    edits = list(Paged().plan(payload, context_in(tmp_path, more=PACKED)))
    told = {edit.path.removeprefix("python/alpha/"): edit for edit in edits}
    assert isinstance(told["plugin"], Rewrite)
    assert told["plugin"].reason.endswith(THROUGH)
    # What asks for no signals is no library that the pass looks at.
    assert "plain" not in told


def test_what_no_pass_changes_is_warned_of(tmp_path: Path, large: Path, taker: Path) -> None:
    files = {"alpha/a.so": large, "alpha/taker.so": taker}
    payload = payload_of(tmp_path / "in", {"alpha": files})
    asset = FileEntry.of(taker, "assets/model/taker.so", "asset:model")
    warned: list[str] = []
    context = replace(
        context_in(tmp_path, more="native: {store: paged, keep-plain: ['alpha/taker.so']}\n"),
        function=(FileEntry.of(taker, "native/taker.so", "function"),),
        warn=warned.append,
    )
    list(Paged().plan(payload.updated(add=[asset]), context))
    assert [text.partition(" ")[0] for text in warned] == [
        *("native/taker.so", "assets/model/taker.so", "python/alpha/taker.so"),
    ]
