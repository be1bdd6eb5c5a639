"""The command line: exit codes, one message a mistake, and what `--help` costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from layerpack import __version__
from tests.support.command import COMMAND, environment, layerpack, refused
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

COMMANDS = ("build", "lock", "size-report", "explain", "diff", "passes", "schema")


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
    assert "--output" in refused(ended, 2)
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


@pytest.mark.exhaustive
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
    # Both bring one, which nothing reads.
    assert "README.md" not in first.errors
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


def test_what_only_shows_runs_no_code_of_the_recipe(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha"))
    folder, cache = tmp_path / "project", tmp_path / "cache"
    path = minimal(folder, index=index.url, runtime=HERE)
    built = layerpack("build", "recipe.yaml", folder=folder, cache=cache)
    assert built.code == 0, built.errors
    evil = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    more = "passes: [evil.py:Evil]\n"
    (folder / "evil.py").write_text(f"{evil}class Evil:\n    name = 'evil'\n")
    # Python finds modules in the current folder, too.
    for name in ("uv", "pip", "json", "random", "tempfile"):
        (folder / f"{name}.py").write_text(evil)
    path.write_text(path.read_text() + more)
    for arguments in (
        ["build", "recipe.yaml", "--dry-run"],
        ["passes", "recipe.yaml"],
        ["size-report", "recipe.yaml"],
        ["explain", "alpha", "--build", "recipe.yaml"],
        ["diff", "build/small", "recipe.yaml"],
        ["lock", "recipe.yaml"],
        ["doctor"],
    ):
        ended = layerpack(*arguments, folder=folder, cache=cache)
        assert ended.code == 0, ended.errors
        assert not (tmp_path / "ran").exists(), arguments
        if arguments[0] == "passes":
            assert "on   evil.py:Evil" in ended.output


def test_passes_are_shown_for_a_recipe(tmp_path: Path) -> None:
    minimal(tmp_path, more="strip: {tests: false}")
    ended = layerpack("passes", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0
    states = {line.split()[1]: line.split()[0] for line in ended.output.splitlines()}
    assert states["tests"] == "off"
    assert states["docs"] == "on"


def test_system_libraries_come_from_files_and_wheels_that_the_recipe_names(
    tmp_path: Path, index: LocalIndex
) -> None:
    sonames = ("libfile.so.1", "libwheel.so.1", "libindex.so.1")
    files = [make_library(tmp_path / "l" / name, soname=name) for name in sonames]
    user = make_library(tmp_path / "user.so", needs=files)
    index.add(make_wheel(tmp_path / "w", "alpha", files={"alpha/user.so": user.read_bytes()}))
    # As auditwheel names what it grafts.
    grafted = "c.libs/{}-0a1b2c3d.so.1.2.3"
    content = files[1].read_bytes()
    beside = make_wheel(tmp_path, "wheel", files={grafted.format("libwheel"): content})
    index.add(make_wheel(tmp_path / "w", "carrier", files={grafted.format("libindex"): content}))
    more = (
        f"system-libraries: {{libfile.so.1: l/libfile.so.1, libwheel.so.1: {beside.name}, "
        "libindex.so.1: carrier==1.0}\n"
    )
    minimal(tmp_path, index=index.url, runtime=HERE, more=more)
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0, ended.errors
    manifest = json.loads((tmp_path / "build/small/manifest.json").read_text())
    assert [(one["soname"], one["origin"]) for one in manifest["system_libraries"]] == [
        ("libfile.so.1", "l/libfile.so.1"),
        ("libwheel.so.1", beside.name),
        ("libindex.so.1", "carrier==1.0"),
    ]
    assert "# asset carrier==1.0 --hash=sha256:" in (tmp_path / "recipe.lock").read_text()
    # What the recipe names is an input of the build.
    make_library(files[0], soname="libfile.so.1", source="int other(void) { return 2; }")
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0 and "nothing changed" not in ended.errors
    files[0].write_text("INPUT(libfile.so.1.2)")
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert "l/libfile.so.1 gives libfile.so.1, which is not a shared library" in refused(ended, 4)
    files[0].unlink()
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert "system-libraries.libfile.so.1" in refused(ended, 4)
    wrong = more.replace("libindex.so.1: carrier", "libfile.so.1: carrier").replace(
        "libfile.so.1: l/libfile.so.1, ", ""
    )
    minimal(tmp_path, index=index.url, runtime=HERE, more=wrong)
    ended = layerpack("build", "recipe.yaml", folder=tmp_path, cache=tmp_path / "cache")
    assert "holds no libfile.so.1" in refused(ended, 5)
