"""A stack with compiled libraries and a prepared asset: kills at bad moments, a damaged cache.

The next build equals one that nothing disturbed; or it ends with one message, and the one after it
equals that.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.errors import LayerpackError
from layerpack.events import Events
from layerpack.pipeline import BuildOptions, build
from tests.support.command import layerpack, start, wait_until_gone
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel, sha256
from tests.unit.elf.libraries import debug_library

pytestmark = pytest.mark.exhaustive

MORE = """\
patches: [{package: alpha, replace: {pattern: old_name, with: new_name, count: 1}}]
assets: [{name: model, wheel: words==1.0, prepare: prepare.py}]
"""
# Prepares the asset; where there is a FIFO beside it, it first starts two programs (in a group of
# its own, as ninja does, and in a session of its own), writes all process IDs to it, and waits.
PREPARE = """\
import os, signal, subprocess, sys, time
from pathlib import Path

import alpha

hold = Path(__file__).with_name("hold")
if hold.exists():
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    group = subprocess.Popen(sleep, preexec_fn=os.setpgrp)
    session = subprocess.Popen(sleep, start_new_session=True)
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with open(hold, "w") as stream:
        stream.write(f"{os.getpid()} {group.pid} {session.pid} {default}")
    time.sleep(600)
words = Path(sys.argv[1], "words.txt").read_text()
Path(sys.argv[2], "model.txt").write_text(words + alpha.value())
Path(sys.argv[2], "noise.bin").write_bytes(bytes(range(256)) * 400)
"""
# Two of these are enough work for the symbols pass to share it out to processes.
LIBRARY = "char filler[17000000] = {1}; int answer(void) { return %d; }"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A project that was built, and its zips' hashes; its cache is in `.cache`."""

    folder: Path
    zips: dict[str, str]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_index: LocalIndex) -> Stack:
    """Built once, with nothing to disturb it."""
    home = tmp_path_factory.mktemp("stack")
    libraries = {
        f"alpha/_c{number}.so": debug_library(home / f"{number}.so", source=LIBRARY % number)
        for number in range(2)
    }
    files: dict[str, str | bytes] = {
        "alpha/__init__.py": "from alpha.parts import new_name\n\n\ndef value():\n"
        "    return old_name\n",
        "alpha/parts.py": "new_name = 'patched'\n",
        "alpha/noise.bin": random.Random(7).randbytes(100_000),
        "alpha-1.0.dist-info/licenses/LICENSE": "do what you like\n",
        **{path: file.read_bytes() for path, file in libraries.items()},
    }
    shared_index.add(
        make_wheel(home / "w", "alpha", files=files),
        make_wheel(home / "w", "words", files={"words.txt": "one two\n"}),
    )
    folder = home / "project"
    minimal(folder, runtime=HERE, index=shared_index.url, more=MORE)
    (folder / "prepare.py").write_text(PREPARE)
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
    assert ended.code == 0, ended.errors
    return Stack(folder=folder, zips=zips(folder))


def zips(folder: Path) -> dict[str, str]:
    """The hash of each zip of the project's build."""
    home = folder / "build/small"
    return {path.relative_to(home).as_posix(): sha256(path) for path in home.rglob("*.zip")}


def copy_of(stack: Stack, folder: Path, *without: str) -> Path:
    """The project before its build, with its cache save some kinds; files are links to the same."""
    shutil.copytree(
        stack.folder, folder, copy_function=os.link, ignore=shutil.ignore_patterns("build")
    )
    for kind in without:
        shutil.rmtree(folder / ".cache" / kind)
    return folder


def process_lives(number: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def check_next_build(stack: Stack, folder: Path) -> None:
    """The next build equals the undisturbed one."""
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
    assert ended.code == 0, ended.errors
    assert zips(folder) == stack.zips


def test_a_kill_during_the_symbols_pass_leaves_no_process_and_no_damage(
    stack: Stack, tmp_path: Path
) -> None:
    folder = copy_of(stack, tmp_path / "project", "passes")
    process = start("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
    symbols = folder / ".cache/passes/symbols"
    while not (symbols.is_dir() and any(symbols.iterdir())):
        assert process.poll() is None
    # The build alone: its workers are told by nobody.
    process.kill()
    process.wait()
    wait_until_gone(process.pid)
    assert not (folder / "build/small").exists()
    check_next_build(stack, folder)


@pytest.mark.parametrize(
    ("signal_", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["kill -9", "kill", "Ctrl-C"],
)
def test_a_kill_during_a_prepare_script_ends_the_script_and_what_it_started(
    stack: Stack, tmp_path: Path, signal_: signal.Signals, code: int
) -> None:
    folder = copy_of(stack, tmp_path / "project", "assets")
    held = folder / "hold"
    os.mkfifo(held)
    cache = folder / ".cache"
    process = start("build", "recipe.yaml", folder=folder, cache=cache)
    script, *started = map(int, held.read_text().split()[:3])
    process.send_signal(signal_)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "")
    assert "Traceback" not in errors
    assert list((cache / "assets").glob("[!.]*")) == []
    if signal_ is signal.SIGKILL:
        # What has a session of its own is not found without its parents.
        in_group, in_session = started
        wait_until_gone(script)
        wait_until_gone(in_group)
        with suppress(ProcessLookupError):
            os.kill(in_session, signal.SIGKILL)
    else:
        assert not any(map(process_lives, (script, *started)))
        assert list((cache / "scratch").iterdir()) == list((cache / "assets").iterdir()) == []
    held.unlink()
    check_next_build(stack, folder)


def test_programs_of_a_background_job_answer_interrupts(stack: Stack, tmp_path: Path) -> None:
    """A shell starts its background jobs with SIGINT ignored, which programs inherit."""
    folder = copy_of(stack, tmp_path / "project", "assets")
    os.mkfifo(folder / "hold")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
    finally:
        signal.signal(signal.SIGINT, before)
    has_default = (folder / "hold").read_text().split()[-1]
    process.send_signal(signal.SIGINT)
    assert has_default == "True"
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143


def replaced(path: Path, data: bytes) -> None:
    """Other content at a path, and not in the file that other projects link to."""
    path.unlink()
    path.write_bytes(data)


def edited(path: Path) -> None:
    """One bit of a file's end changed: neither its size nor its kind tells."""
    data = path.read_bytes()
    assert data
    replaced(path, data[:-1] + bytes([data[-1] ^ 1]))


def one(cache: Path, pattern: str) -> Path:
    """The one file that a pattern meets in the cache."""
    (path,) = cache.glob(pattern)
    return path


def every(cache: Path, pattern: str) -> list[Path]:
    """The files that a pattern meets in the cache, of which there must be some."""
    paths = [path for path in cache.glob(pattern) if path.is_file()]
    assert paths, pattern
    return paths


def halve(cache: Path, pattern: str) -> None:
    for path in every(cache, pattern):
        data = path.read_bytes()
        replaced(path, data[: len(data) // 2])


def change_modes_in_indexes(cache: Path) -> None:
    for path in every(cache, "unpacked/*/index.json"):
        data = path.read_bytes()
        assert b" 420," in data
        replaced(path, data.replace(b" 420,", b" 493,"))


def edit_bytes(cache: Path, pattern: str) -> None:
    for path in every(cache, pattern):
        edited(path)


def remove(cache: Path, pattern: str) -> None:
    for path in every(cache, pattern):
        path.unlink()


def edit_text(cache: Path, pattern: str, old: bytes, new: bytes) -> None:
    assert len(old) == len(new)
    path = one(cache, pattern)
    data = path.read_bytes()
    assert old in data
    replaced(path, data.replace(old, new))


Damage = Callable[[Path], None]
# What is damaged, the other kinds that are gone too (so that the damaged one is read), and how.
DAMAGES: dict[str, tuple[tuple[str, ...], Damage]] = {
    "an index is half": ((), lambda cache: halve(cache, "unpacked/*/index.json")),
    "an index has other modes": ((), change_modes_in_indexes),
    "a file is gone": ((), lambda cache: remove(cache, "unpacked/*/files/alpha/parts.py")),
    "a small file": ((), lambda cache: edit_bytes(cache, "unpacked/*/files/alpha/parts.py")),
    "a large file": (
        ("deflated",),
        lambda cache: edit_bytes(cache, "unpacked/*/files/alpha/noise.bin"),
    ),
    "a library before it is stripped": (
        ("passes",),
        lambda cache: edit_text(cache, "unpacked/*/files/alpha/_c0.so", b"answer\0", b"anzwer\0"),
    ),
    "a module before it is compiled": (
        ("passes",),
        lambda cache: edit_text(cache, "unpacked/*/files/alpha/parts.py", b"patched", b"PATCHED"),
    ),
    "a module before it is patched": (
        ("patched", "passes"),
        lambda cache: edit_text(
            cache, "unpacked/*/files/alpha/__init__.py", b"def value", b"def VALUE"
        ),
    ),
    "an asset's source": (
        ("assets",),
        lambda cache: edit_text(cache, "unpacked/*/files/words.txt", b"two", b"too"),
    ),
    "a licence": (
        ("licences",),
        lambda cache: edit_text(
            cache, "unpacked/*/files/alpha-1.0.dist-info/licenses/LICENSE", b"what", b"that"
        ),
    ),
    "stripped libraries": ((), lambda cache: edit_bytes(cache, "passes/symbols/*.so")),
    "stripped libraries are gone": ((), lambda cache: remove(cache, "passes/symbols/*.so")),
    "bytecode": ((), lambda cache: edit_bytes(cache, "passes/bytecode/*/*.pyc")),
    "notes of bytecode": ((), lambda cache: edit_bytes(cache, "passes/bytecode/*/notes.json")),
    "patched modules": ((), lambda cache: edit_bytes(cache, "patched/*")),
    "licences": ((), lambda cache: edit_bytes(cache, "licences/*")),
    "prepared assets": ((), lambda cache: edit_bytes(cache, "assets/*/output/*")),
    "compressed members": ((), lambda cache: edit_bytes(cache, "deflated/*/*")),
    "wheels": (("unpacked",), lambda cache: halve(cache, "wheels/*/*.whl")),
    "wheels are gone": (("unpacked",), lambda cache: remove(cache, "wheels/*/*.whl")),
    "choices": ((), lambda cache: edit_bytes(cache, "choices/*.json")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cache_never_changes_the_zips(stack: Stack, tmp_path: Path, name: str) -> None:
    without, damage = DAMAGES[name]
    folder = copy_of(stack, tmp_path / "project", *without)
    damage(folder / ".cache")
    options = BuildOptions(cache=Cache(folder / ".cache"), output=folder / "build/small")
    try:
        build(folder / "recipe.yaml", options, Events())
    except LayerpackError as error:
        # One message, and what is damaged is gone.
        assert str(folder) in error.message
        assert not (folder / "build/small").exists()
        build(folder / "recipe.yaml", options, Events())
    assert zips(folder) == stack.zips
    manifest = json.loads((folder / "build/small/manifest.json").read_text())
    for layer in manifest["layers"]:
        assert layer["sha256"] == stack.zips[layer["file"]]
