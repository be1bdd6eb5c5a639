"""What goes wrong while a build runs: full disks, kills, Ctrl-C. One message, and no damage."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from layerpack.lock import Lock
from tests.support.command import COMMAND, environment, layerpack, start, wait_until_gone
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel, sha256

pytestmark = pytest.mark.exhaustive

NOISE = random.Random(11).randbytes(8_000_000)


def check_build(home: Path) -> None:
    """A build folder is whole: each zip is sound, and as the manifest has it."""
    manifest = json.loads((home / "manifest.json").read_text())
    records = [*manifest["layers"], *([manifest["function"]] if manifest["function"] else [])]
    assert records
    for record in records:
        assert sha256(home / record["file"]) == record["sha256"]
        with zipfile.ZipFile(home / record["file"]) as archive:
            assert archive.testzip() is None


def zips(home: Path) -> dict[str, str]:
    """The hash of every zip of a build."""
    return {path.relative_to(home).as_posix(): sha256(path) for path in home.rglob("*.zip")}


def publish(folder: Path, index: LocalIndex) -> None:
    """alpha is small; big needs it and has 8 MB that do not compress, and many small files."""
    files: dict[str, str | bytes] = {"big/noise.bin": NOISE, "big/__init__.py": "import alpha\n"}
    files |= {f"big/part{number}.py": f"VALUE = {number}\n" for number in range(300)}
    index.add(make_wheel(folder, "alpha"), make_wheel(folder, "big", files=files))


# Run in a mount namespace of its own: a small file system for cache and builds, an earlier build
# there, and then one that needs more than there is room for.
_SMALL_DISK = """\
import hashlib, json, os, subprocess, sys
from pathlib import Path

folder, size, command = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
disk = folder / "disk"
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)


def build(recipe):
    places = ["-o", str(disk / "small"), "--cache-dir", str(disk / "cache")]
    arguments = [command, "build", recipe, *places]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    return {"code": done.returncode, "output": done.stdout, "errors": done.stderr}


def files():
    return {
        str(path.relative_to(disk)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((disk / "small").rglob("*")) if path.is_file()
    }


first = build("first.yaml")
before = files()
second = build("second.yaml")
after = files()
# Another build finds cache and earlier build as they were: nothing changed.
third = build("first.yaml")
left = [path.name for place in (disk, disk / "cache/scratch") for path in place.iterdir()]
print(json.dumps([first, before, second, after, third, left]))
"""


@pytest.mark.parametrize("megabytes", [4, 12, 28])
def test_a_full_disk_is_one_message_and_no_damage(
    tmp_path: Path, index: LocalIndex, megabytes: int
) -> None:
    publish(tmp_path / "w", index)
    for name, requirement in (("first", "alpha"), ("second", "big")):
        minimal(
            tmp_path,
            name=f"{name}.yaml",
            requirements=["alpha", requirement],
            runtime=HERE,
            index=index.url,
        )
    isolated = ["unshare", "--user", "--map-root-user", "--mount"]
    script = [sys.executable, "-c", _SMALL_DISK, str(tmp_path), f"{megabytes}m", str(COMMAND)]
    done = subprocess.run(
        [*isolated, *script],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "unused"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, before, second, after, third, left = json.loads(done.stdout)
    assert first["code"] == 0, first["errors"]
    assert second["code"] == 6, second["errors"]
    assert second["errors"].count("error: ") == 1
    # The file or folder, and which of the places that a user may choose it is in.
    first_line, hint = second["errors"].splitlines()[-2:]
    place, _, reason = first_line.removeprefix("error: ").partition(": ")
    disk = tmp_path / "disk"
    in_cache = place != f"{disk / 'small'} cannot be written"
    if in_cache and not place.startswith("downloading "):
        assert Path(place).is_relative_to(disk / "cache"), first_line
        assert reason == f"No space left on device (in the cache {disk / 'cache'})"
    assert "No space left on device" in reason
    assert ("--cache-dir" in hint, "--output" in hint) == (in_cache, not in_cache), second["errors"]
    assert "Traceback" not in second["errors"]
    assert len(second["errors"].splitlines()) <= 3
    assert after == before
    assert "nothing changed" in third["errors"]
    assert sorted(left) == ["cache", "small"]


def test_the_same_build_fits_on_a_larger_disk(tmp_path: Path, index: LocalIndex) -> None:
    """Or the sizes above would tell nothing."""
    publish(tmp_path / "w", index)
    minimal(tmp_path, requirements=["big"], runtime=HERE, index=index.url)
    assert layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache").code == 0


@pytest.fixture
def project(tmp_path: Path, index: LocalIndex) -> Path:
    """A folder `old` with an earlier build and its cache, and a recipe that changed since."""
    publish(tmp_path / "w", index)
    folder = tmp_path / "old"
    minimal(folder, requirements=["alpha"], runtime=HERE, index=index.url)
    assert layerpack("build", "recipe.yaml", folder=folder, cache=folder / ".cache").code == 0
    minimal(folder, requirements=["big", "alpha"], runtime=HERE, index=index.url)
    return folder


def test_a_kill_at_any_moment_leaves_all_sound_and_the_next_build_equal(
    project: Path, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(project, undisturbed)
    began = time.monotonic()
    ended = layerpack("build", "recipe.yaml", folder=undisturbed, cache=undisturbed / ".cache")
    duration = time.monotonic() - began
    assert ended.code == 0
    expected = zips(undisturbed / "build/small")
    chance = random.Random(20_26)
    for number in range(4):
        folder = tmp_path / f"killed{number}"
        shutil.copytree(project, folder)
        process = start("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
        try:
            process.communicate(timeout=duration * chance.uniform(number / 4, (number + 1) / 4))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # The earlier build, or the new one, or (between two renames) the earlier one put aside.
        former = folder / "build/.small.layerpack-former"
        check_build(former if former.is_dir() else folder / "build/small")
        assert Lock.read(folder / "recipe.lock") is not None
        again = layerpack("build", "recipe.yaml", folder=folder, cache=folder / ".cache")
        assert again.code == 0, again.errors
        check_build(folder / "build/small")
        assert zips(folder / "build/small") == expected
        assert [path.name for path in (folder / "build").glob("[!.]*")] == ["small"]


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a build says on Ctrl-C, which a terminal sends to the whole group."""
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    return errors


def test_ctrl_c_during_a_download_ends_quietly(project: Path, index: LocalIndex) -> None:
    before = zips(project / "build/small")
    # uv asks for the file's metadata: only pip's request is held back.
    lock = layerpack("lock", "recipe.yaml", folder=project, cache=project / ".cache")
    assert lock.code == 0
    gate = index.gate("big-1.0-py3-none-any.whl")
    process = start("build", "recipe.yaml", folder=project, cache=project / ".cache")
    assert gate.reached.wait(timeout=60)
    interrupted(process)
    assert zips(project / "build/small") == before
    assert list((project / ".cache/scratch").iterdir()) == []


def test_ctrl_c_during_a_prepare_script_ends_quietly_and_ends_the_script(
    project: Path, index: LocalIndex
) -> None:
    os.mkfifo(project / "started")
    (project / "prepare.py").write_text(
        f"import os, time\nopen({str(project / 'started')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    minimal(
        project,
        requirements=["alpha"],
        runtime=HERE,
        index=index.url,
        more="assets: [{name: model, prepare: prepare.py}]",
    )
    process = start("build", "recipe.yaml", folder=project, cache=project / ".cache")
    script = int((project / "started").read_text())
    interrupted(process)
    with pytest.raises(ProcessLookupError):
        os.kill(script, 0)
    check_build(project / "build/small")


@pytest.fixture
def large(project: Path, tmp_path: Path, index: LocalIndex) -> Path:
    """The project with 60 MB more to compress, everything else of which is in the cache."""
    chance = random.Random(5)
    files: dict[str, str | bytes] = {
        f"huge/{number}.bin": chance.randbytes(3_000_000) for number in range(20)
    }
    index.add(make_wheel(tmp_path / "w", "huge", files=files))
    minimal(project, requirements=["alpha", "huge"], runtime=HERE, index=index.url)
    return project


def wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until there is a file in the folder."""
    while not (folder.is_dir() and any(folder.iterdir())):
        assert process.poll() is None


def importing(group: int) -> bool:
    """Whether a worker of the build has just loaded its compressor."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(path.parent.name)
        try:
            if os.getpgid(pid) == group and b"spawn_main" in path.read_bytes():
                return b"/deflate" in path.with_name("maps").read_bytes()
        except (ProcessLookupError, FileNotFoundError):
            continue
    return False


@pytest.mark.parametrize("moment", ["begun", "workers starting", "half done"])
def test_ctrl_c_while_compressing_ends_quietly(large: Path, moment: str) -> None:
    before = zips(large / "build/small")
    cache = large / ".cache"
    shutil.rmtree(cache / "deflated")
    process = start("build", "recipe.yaml", folder=large, cache=cache)
    if moment == "half done":
        wait_for(cache / "deflated", process)
    elif moment == "workers starting":
        # They import for a while, and would tell where Ctrl-C met them.
        while not importing(process.pid):
            assert process.poll() is None
    else:
        while not (cache / "deflated").is_dir():
            assert process.poll() is None
    interrupted(process)
    assert zips(large / "build/small") == before
    assert [path.name for path in (large / "build").glob("[!.]*")] == ["small"]
    assert list((cache / "scratch").iterdir()) == []


def test_a_build_that_is_killed_leaves_no_process(large: Path) -> None:
    shutil.rmtree(large / ".cache/deflated")
    process = start("build", "recipe.yaml", folder=large, cache=large / ".cache")
    wait_for(large / ".cache/deflated", process)
    # The build alone: its workers are told by nobody.
    process.kill()
    process.wait()
    wait_until_gone(process.pid)


def compiler_of(build: subprocess.Popen[str]) -> int:
    """The number of a build's process that compiles modules, which is stopped."""
    while True:
        assert build.poll() is None
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(ProcessLookupError, FileNotFoundError):
                parent = path.with_name("stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == build.pid and b"compile_worker.py" in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGSTOP)
                    return int(path.parent.name)


def test_a_build_that_is_killed_leaves_no_compiler(
    project: Path, tmp_path: Path, index: LocalIndex
) -> None:
    files: dict[str, str | bytes] = {
        f"slow/part{number}.py": f"VALUE = [{'1, ' * 100_000}{number}]\n" for number in range(30)
    }
    index.add(make_wheel(tmp_path / "w", "slow", files=files))
    minimal(project, requirements=["slow"], runtime=HERE, index=index.url)
    process = start("build", "recipe.yaml", folder=project, cache=project / ".cache")
    compiler = compiler_of(process)
    opened = os.pidfd_open(compiler)
    process.kill()
    process.communicate()
    ended = select.select([opened], [], [], 60)[0] == [opened]
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(opened, signal.SIGKILL)
    os.close(opened)
    assert ended
