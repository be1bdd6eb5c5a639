"""Builds that end with an error: the exit code of each, one message, and no harm done."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Ended, environment, layerpack, refused
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel, symlink_member


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        (["no-such-thing"], "error: uv found no versions for: no-such-thing\n"),
        (["alpha==1.0", "beta"], "error: uv found no versions for: alpha==1.0, beta\n"),
    ],
    ids=["unknown", "impossible"],
)
def test_what_cannot_be_resolved_is_code_5_and_leaves_nothing(
    tmp_path: Path, index: LocalIndex, requirements: list[str], expected: str
) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    index.add(make_wheel(tmp_path / "w", "beta", requires=["alpha>1"]))
    folder = tmp_path / "project"
    minimal(folder, requirements=requirements, index=index.url)
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=tmp_path / "cache")
    assert refused(ended, 5).startswith(expected)
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]


def test_a_swapped_file_is_code_5_and_the_earlier_build_stays(
    tmp_path: Path, index: LocalIndex
) -> None:
    folder, cache = tmp_path / "project", tmp_path / "cache"
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(folder, index=index.url, runtime=HERE)
    assert layerpack("build", "recipe.yaml", folder=folder, cache=cache).code == 0
    before = (folder / "build/small/manifest.json").read_bytes()
    index.add(make_wheel(tmp_path / "2", "alpha", files={"alpha.py": "import evil"}))
    minimal(folder, index=index.url, runtime=HERE, more="strip: {tests: false}")
    other = tmp_path / "other-cache"
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=other)
    assert "alpha==1.0: the downloaded file's hash" in refused(ended, 5)
    assert (folder / "build/small/manifest.json").read_bytes() == before
    assert list((other / "scratch").iterdir()) == []
    assert not (other / "wheels").exists()


def evil_symlink() -> tuple[zipfile.ZipInfo, bytes]:
    """A member that is a link out of the layer."""
    return symlink_member("evil/evil.py"), b"/etc/passwd"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("member", "told"),
    [
        (("../../evil.py", b"import os"), "its member '../../evil.py' leads out of its folder"),
        (("/tmp/evil.py", b"import os"), "its member '/tmp/evil.py' has an absolute or foreign"),
        (evil_symlink(), "its member 'evil/evil.py' is a symbolic link"),
        (None, "downloading evil==1.0 failed: Download failed "),
    ],
    ids=["..", "absolute", "link", "truncated"],
)
def test_a_hostile_or_broken_wheel_is_code_5_and_harms_nothing(
    tmp_path: Path,
    index: LocalIndex,
    member: tuple[zipfile.ZipInfo | str, bytes] | None,
    told: str,
) -> None:
    folder, cache = tmp_path / "project", tmp_path / "cache"
    evil = make_wheel(tmp_path / "w", "evil", extra=[member] if member else [])
    index.add(make_wheel(tmp_path / "w", "alpha"), evil)
    minimal(folder, index=index.url, runtime=HERE)
    assert layerpack("build", "recipe.yaml", folder=folder, cache=cache).code == 0
    minimal(folder, requirements=["alpha", "evil"], index=index.url, runtime=HERE)
    assert layerpack("lock", "recipe.yaml", folder=folder, cache=cache).code == 0
    if member is None:
        index.truncated.add(evil.name)

    def files() -> dict[str, bytes]:
        """The project, and what the cache had of alpha."""
        kept = [*folder.rglob("*"), *cache.glob("unpacked/*/**/*"), *cache.glob("wheels/*/alpha*")]
        return {str(path): path.read_bytes() for path in kept if path.is_file()}

    before = files()
    text = refused(layerpack("build", "recipe.yaml", folder=folder, cache=cache), 5)
    assert told in text
    assert len(text.splitlines()) == 2
    assert files() == before
    assert list((cache / "scratch").iterdir()) == []
    assert not list(cache.rglob("evil.py"))
    assert not [path for path in (tmp_path / "evil.py", Path("/tmp/evil.py")) if path.exists()]


def test_a_pin_that_was_removed_by_hand_makes_the_lock_stale(
    tmp_path: Path, index: LocalIndex
) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha", requires=["beta"]))
    index.add(make_wheel(tmp_path / "w", "beta"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    cache = tmp_path / "cache"
    assert layerpack("lock", "recipe.yaml", folder=tmp_path, cache=cache).code == 0
    lock = tmp_path / "recipe.lock"
    whole = lock.read_text()
    edited = re.sub(r"(?s)^beta==.*", "", whole, flags=re.MULTILINE)
    assert "alpha==1.0" in edited and "beta==" not in edited
    lock.write_text(edited)
    ended = layerpack("build", "recipe.yaml", "--locked", folder=tmp_path, cache=cache)
    assert "recipe.lock does not hold: its pins were edited by hand" in refused(ended, 5)
    assert lock.read_text() == edited
    assert not (tmp_path / "build").exists()
    # Without --locked it is made anew, and the build says so.
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert ended.code == 0
    assert "warning: recipe.lock is stale (its pins were edited by hand)" in ended.errors
    assert lock.read_text() == whole


@pytest.mark.parametrize("arguments", [["build"], ["build", "--dry-run"], ["lock"]])
def test_another_tools_lock_is_code_5_and_stays(tmp_path: Path, arguments: list[str]) -> None:
    minimal(tmp_path, name="uv.yaml")
    text = 'version = 1\nrequires-python = ">=3.12"\n\n[[package]]\nname = "alpha"\n'
    (tmp_path / "uv.lock").write_text(text)
    ended = layerpack(*arguments, "uv.yaml", folder=tmp_path, cache=tmp_path / "cache")
    told = refused(ended, 5)
    assert "uv.lock" in told
    assert "recipe" in told
    # It is the other tool's only record.
    assert not re.search("remove|rename it|delete", told, re.IGNORECASE)
    assert (tmp_path / "uv.lock").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["uv.lock", "uv.yaml"],
        ["cache", "uv.lock", "uv.yaml"],
    )


def test_an_own_pass_that_raises_is_code_4_and_named(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE, more="passes: [own.py:Own]")
    (tmp_path / "own.py").write_text(
        "class Own:\n"
        "    name, summary, after = 'models', 'large models', frozenset()\n"
        "    def wanted(self, recipe):\n        return True\n"
        "    def plan(self, payload, context):\n        return payload['python/none']\n"
    )
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 4) == (
        "error: recipe.yaml: the pass 'models' failed: KeyError: 'python/none'\n"
    )
    assert not (tmp_path / "build/small").exists()


def test_locked_without_a_lock_is_code_5(tmp_path: Path) -> None:
    minimal(tmp_path)
    ended = layerpack("build", "recipe.yaml", "--locked", folder=tmp_path, cache=tmp_path / "c")
    assert refused(ended, 5) == (
        "error: the lock recipe.lock does not hold: there is none\n"
        "  Run `layerpack lock recipe.yaml`, or build without --locked.\n"
    )


def test_a_missing_system_library_is_code_7(tmp_path: Path, index: LocalIndex) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / "user.so", needs=[gone])
    index.add(make_wheel(tmp_path / "w", "alpha", files={"alpha/user.so": user.read_bytes()}))
    minimal(tmp_path, index=index.url, runtime=HERE)
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert "  libgone.so.1, needed by python/alpha/user.so\n" in refused(ended, 7)
    assert not (tmp_path / "build/small").exists()
    more = "system-libraries: {optional: [libgone.so.1]}"
    minimal(tmp_path, index=index.url, runtime=HERE, more=more)
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0
    assert ended.errors.startswith(
        "warning: libgone.so.1, needed by python/alpha/user.so, is missing (optional)\n"
    )


def test_a_read_only_place_is_code_6(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    (tmp_path / "build").mkdir()
    mount = 'mount --bind build build && mount -o remount,bind,ro build && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"),
            *(str(COMMAND), "build", "recipe.yaml"),
        ],
        cwd=tmp_path,
        env=environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
        check=False,
    )
    ended = Ended(code=done.returncode, output=done.stdout, errors=done.stderr)
    assert "Read-only file system" in refused(ended, 6)


def test_a_cache_that_is_a_file_is_code_2(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    (tmp_path / "cache").write_text("a file")
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 2) == (
        f"error: the cache folder {tmp_path}/cache cannot be made: File exists\n"
        "  Choose another with --cache-dir or LAYERPACK_CACHE_DIR.\n"
    )
    assert (tmp_path / "cache").read_text() == "a file"
    assert not (tmp_path / "build").exists()
