"""The command line: exit codes, one message a mistake, and what `--help` costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from layerpack import __version__
from tests.support.command import COMMAND, Ended, environment, layerpack
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel, symlink_member

COMMANDS = ("build", "lock", "size-report", "explain", "diff", "passes", "schema")


def refused(ended: Ended, code: int) -> str:
    """A command ended with the code and one message on standard error, which is given."""
    assert ended.code == code, ended.errors
    assert ended.output == ""
    assert "Traceback" not in ended.errors
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("error: ") == 1 or "  error: " in ended.errors
    return ended.errors


def test_help_lists_the_commands(tmp_path: Path) -> None:
    ended = layerpack("--help", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0
    for name in COMMANDS:
        assert name in ended.output
        own = layerpack(name, "--help", folder=tmp_path, cache=tmp_path / "cache")
        assert (own.code, own.errors) == (0, "")


def test_help_imports_nothing_heavy() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(COMMAND), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "typer" in imported
    heavy = {"pydantic", "boto3", "docker", "yaml", "numpy", "installer", "uv", "pip", "deflate"}
    heavy |= {"rich.progress", "concurrent.futures", "urllib.request", "http.server"}
    assert not heavy & imported
    assert not [name for name in imported if name.startswith("layerpack.passes")]


def test_the_version_is_told(tmp_path: Path) -> None:
    ended = layerpack("--version", folder=tmp_path, cache=tmp_path / "cache")
    assert (ended.code, ended.output) == (0, f"layerpack {__version__}\n")


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    ended = layerpack(folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 2
    assert "size-report" in ended.output + ended.errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["build"],
        ["build", "recipe.yaml", "--no-such-option"],
        ["build", "recipe.yaml", "--format", "xml"],
    ],
)
def test_a_wrong_command_line_is_code_2(tmp_path: Path, arguments: list[str]) -> None:
    ended = layerpack(*arguments, folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 2
    assert "Traceback" not in ended.errors
    assert "Usage: " in ended.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["size-report", "nowhere"],
            "error: nowhere/manifest.json: no such file\n"
            "  Is nowhere a build folder? `layerpack build` makes one.\n",
        ),
        (
            ["size-report", "recipe.yaml"],
            "error: recipe.yaml is not built: there is no build/small in the current folder\n"
            "  layerpack build recipe.yaml, or name the build's folder where it is.\n",
        ),
        (
            ["explain", "numpy"],
            "error: which build? Found in build/: none\n  Name one with --build.\n",
        ),
        (
            ["diff", "nowhere", "nowhere"],
            "error: nowhere/manifest.json: no such file\n"
            "  Is nowhere a build folder? `layerpack build` makes one.\n",
        ),
    ],
)
def test_a_build_that_is_not_there_is_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    minimal(tmp_path)
    ended = layerpack(*arguments, folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 2) == message


def test_a_folder_with_other_things_is_not_built_over(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    folder = tmp_path / "project"
    minimal(folder, index=index.url)
    ended = layerpack("build", "recipe.yaml", "-o", ".", folder=folder, cache=tmp_path / "cache")
    assert refused(ended, 2) == (
        "error: . holds other things than a build, and would be replaced\n"
        "  Choose another --output, or remove the folder.\n"
    )
    assert (folder / "recipe.yaml").is_file()


@pytest.mark.parametrize("command", ["build", "lock", "passes", "size-report"])
def test_a_broken_recipe_is_code_4_for_every_command(tmp_path: Path, command: str) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\nruntime: [python3.12\n")
    ended = layerpack(command, "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 4).startswith("error: recipe.yaml:3:1: not valid YAML: ")


def test_an_absent_recipe_is_code_4_with_the_nearest_name(tmp_path: Path) -> None:
    minimal(tmp_path, name="bert.yaml")
    ended = layerpack("build", "brt.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 4) == "error: brt.yaml: no such recipe\n  Did you mean bert.yaml?\n"


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
    assert refused(ended, 5) == (
        "error: the lock recipe.lock does not hold: its pins were changed since it was made\n"
        "  Run `layerpack lock recipe.yaml`, or build without --locked.\n"
    )
    assert lock.read_text() == edited
    assert not (tmp_path / "build").exists()
    # Without --locked it is made anew, and the build says so.
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert ended.code == 0
    assert "warning: recipe.lock is stale (its pins were changed since it was made): " in (
        ended.errors
    )
    assert lock.read_text() == whole


@pytest.mark.parametrize("arguments", [["build"], ["build", "--dry-run"], ["lock"]])
def test_another_tools_lock_is_code_5_and_stays(tmp_path: Path, arguments: list[str]) -> None:
    minimal(tmp_path, name="uv.yaml")
    text = 'version = 1\nrequires-python = ">=3.12"\n\n[[package]]\nname = "alpha"\n'
    (tmp_path / "uv.lock").write_text(text)
    ended = layerpack(*arguments, "uv.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert refused(ended, 5) == (
        "error: uv.lock is in the way: it is not a lock that layerpack made\n"
        "  Remove or rename it, or give the recipe another name.\n"
    )
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


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "recipe.yaml/below",
            "recipe.yaml: File exists\n  A file stands where a folder is needed.\n",
        ),
        ("x" * 300, "File name too long"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_message(
    tmp_path: Path, index: LocalIndex, place: str, message: str
) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    ended = layerpack("build", "recipe.yaml", "-o", place, folder=tmp_path, cache=tmp_path / "c")
    assert message in refused(ended, 6)


def test_an_output_where_no_folder_can_be_made_is_code_2(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    ended = layerpack(
        "build", "recipe.yaml", "-o", "/proc/x", folder=tmp_path, cache=tmp_path / "c"
    )
    assert refused(ended, 2) == (
        "error: /proc/x: no folder can be made there\n  Choose another --output.\n"
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


def test_results_go_to_standard_output_alone_and_quiet_is_quiet(
    tmp_path: Path, index: LocalIndex
) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    minimal(tmp_path, index=index.url, runtime=HERE)
    cache = tmp_path / "cache"
    ended = layerpack(
        "build", "recipe.yaml", "--quiet", "--format", "json", folder=tmp_path, cache=cache
    )
    assert (ended.code, ended.errors) == (0, "")
    assert json.loads(ended.output)["name"] == "small"
    told = layerpack("build", "recipe.yaml", "--verbose", folder=tmp_path, cache=cache)
    assert told.errors.endswith("nothing changed: build/small (open build/small/report.html)\n")
    assert "\033[" not in told.output + told.errors


PATCHED = """\
patches: [{package: alpha, replace: {pattern: VERSION, with: RELEASE}}]
"""


def test_reports_suit_every_terminal_and_every_reader(tmp_path: Path, index: LocalIndex) -> None:
    files: dict[str, str | bytes] = {"alpha/__init__.py": "VERSION = 'VERSION'\n"}
    files |= {f"alpha/tests/caf\u00e9{number}.py": "" for number in range(40)}
    both = {"README.md": "# alpha \u65e5\u672c\n"}
    index.add(make_wheel(tmp_path / "w", "alpha", files=files | both))
    index.add(make_wheel(tmp_path / "w", "beta", files={"beta.py": "", "README.md": "# beta\n"}))
    more = PATCHED + "description: caf\u00e9 \u65e5\u672c\n"
    minimal(tmp_path, requirements=["alpha", "beta"], index=index.url, runtime=HERE, more=more)
    cache = tmp_path / "cache"
    first = layerpack("build", "recipe.yaml", folder=tmp_path, cache=cache)
    assert first.code == 0
    assert first.errors.startswith(
        "warning: alpha and beta both bring README.md: the first one's stays\n"
    )
    commands = [
        ["size-report", "recipe.yaml"],
        ["explain", "alpha"],
        ["diff", "build/small", "recipe.yaml"],
    ]
    for arguments in commands:
        extra = {"PYTHONIOENCODING": "ascii"}
        ended = layerpack(*arguments, folder=tmp_path, cache=cache, extra=extra)
        assert (ended.code, ended.errors) == (0, "")
        assert ended.output.isascii()
        assert len(ended.output.splitlines()) > 1

    # A patched file is explained as such.
    told = layerpack("explain", "alpha/__init__.py", folder=tmp_path, cache=cache).output
    assert "'VERSION' replaced 2 times, as the recipe says" in told
    told = layerpack(
        *("explain", "alpha/__init__.py", "--format", "json"), folder=tmp_path, cache=cache
    ).output
    (remark,) = [one for one in json.loads(told)["remarks"] if one["pass_name"] == "patches"]
    assert (remark["action"], remark["bytes_before"], remark["bytes_after"]) == ("rewrite", 20, 20)

    # As `| head -1` does: the reader has left before the first byte is written.
    for arguments in (
        *commands,
        ["build", "recipe.yaml", "--format", "json"],
        ["passes"],
        ["schema"],
    ):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=tmp_path,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(cache),
            check=False,
        )
        os.close(write)
        assert done.returncode == -signal.SIGPIPE, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert "error" not in done.stderr


def test_the_schema_is_printed(tmp_path: Path) -> None:
    ended = layerpack("schema", folder=tmp_path, cache=tmp_path / "cache")
    assert json.loads(ended.output)["title"] == "layerpack recipe"


def test_passes_are_shown_for_a_recipe(tmp_path: Path) -> None:
    minimal(tmp_path, more="strip: {tests: false}")
    ended = layerpack("passes", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0
    states = {line.split()[1]: line.split()[0] for line in ended.output.splitlines()}
    assert states["tests"] == "off"
    assert states["docs"] == "on"
