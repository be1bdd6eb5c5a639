"""How pip and uv get to know their indexes: by variables or files, never by arguments.

Every user of a machine sees the arguments of its processes, and an index's address may hold a
password. Variables are seen by the code of others that pip runs, when it builds a source.
"""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from layerpack import process
from layerpack.child_variables import tool_variables

_PIP: Final = {
    "--index-url": "PIP_INDEX_URL",
    "--extra-index-url": "PIP_EXTRA_INDEX_URL",
    "--find-links": "PIP_FIND_LINKS",
}
_UV: Final = {
    "--index-url": "UV_DEFAULT_INDEX",
    "--extra-index-url": "UV_EXTRA_INDEX_URL",
    "--find-links": "UV_FIND_LINKS",
}
# Options that a requirements file may have: they hold for build requirements, too
# (https://pip.pypa.io/en/stable/reference/requirements-file-format/#global-options).
_IN_FILE: Final = {
    **{variable: option for option, variable in _PIP.items()},
    "PIP_TRUSTED_HOST": "--trusted-host",
}
# Commands of pip that have a section in its configuration.
_COMMANDS: Final = frozenset({"download", "install", "wheel"})
# A variable takes the place of what pip's files say; as an option, these would add to it.
_ADDED: Final = {"--extra-index-url": "extra-index-url", "--find-links": "find-links"}


def pip_indexes(
    words: Sequence[str], *, configured: bool = True
) -> tuple[list[str], dict[str, str]]:
    """A command of pip's (or pip-tools') without its indexes, and the variables that name them.

    Folders of `--find-links` stay. With `configured`, what pip's own settings of this machine add
    is added here, too.
    """
    left, found = _divided(words, keep_folders=True)
    if configured and not _ADDED.keys().isdisjoint(found):
        settings = pip_configuration(section_of(words))
        for option in _ADDED.keys() & found.keys():
            found[option] = [*settings.get(_ADDED[option], "").split(), *found[option]]
    return left, {_PIP[option]: " ".join(values) for option, values in found.items()}


def uv_indexes(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command of uv's without its indexes, and the variables that name them."""
    left, found = _divided(words, keep_folders=False)
    return left, {
        _UV[option]: ("," if option == "--find-links" else " ").join(values)
        for option, values in found.items()
    }


def hide_indexes(
    words: Sequence[str], variables: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """The variables for a command of pip's without its indexes and uv's settings: its requirements
    file, which lies in `folder`, gets the indexes instead."""
    lines = [
        f"{option} {shlex.quote(value)}\n"
        for variable, option in _IN_FILE.items()
        for value in variables.get(variable, "").split()
    ]
    with (folder / words[words.index("--requirement") + 1]).open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return {
        name: value
        for name, value in variables.items()
        if name not in _IN_FILE and not name.startswith("UV_")
    }


def section_of(words: Sequence[str]) -> str:
    """The section of pip's configuration that a command reads: `python -m pip wheel ...` reads
    `wheel`. pip-tools reads `install` (piptools/repositories/pypi.py)."""
    at = words.index("-m") + 1 if "-m" in words else len(words)
    if words[at : at + 1] == ["pip"]:
        return next((word for word in words[at + 1 :] if word in _COMMANDS), "install")
    return "install"


def pip_configuration(section: str = "install") -> dict[str, str]:
    """Settings of pip by their names, as `pip config list` prints them: `global.timeout='60'`.

    Those of `section` are stronger than the global ones; empty values count for nothing, as with
    pip (pip/_internal/cli/parser.py).
    """
    # The strongest last: `:env:` is the environment.
    sections = ("global", section, ":env:")
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    listing = process.run(command, environment=tool_variables(), hide=False)
    found: dict[str, dict[str, str]] = {name: {} for name in sections}
    for line in listing.output.splitlines():
        name, equals, value = line.partition("=")
        place, _, key = name.rpartition(".")
        if equals and place in found and (text := str(ast.literal_eval(value))):
            found[place][key] = text
    return {key: value for name in sections for key, value in found[name].items()}


def _divided(words: Sequence[str], *, keep_folders: bool) -> tuple[list[str], dict[str, list[str]]]:
    left: list[str] = []
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word not in _PIP:
            left.append(word)
            continue
        value = next(rest, "")
        if keep_folders and word == "--find-links" and Path(value).is_dir():
            left += [word, value]
        else:
            found.setdefault(word, []).append(value)
    return left, found


def runner(
    divide: Callable[[Sequence[str]], tuple[list[str], dict[str, str]]],
    variables: Callable[[], dict[str, str]],
    *,
    hide: bool = False,
) -> process.Runner:
    """`process.run` with these variables, for a tool whose indexes `divide` hands over; `hide` them
    from the code that it runs (see hide_indexes)."""

    def run(
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> process.Result:
        words, indexes = divide([str(argument) for argument in arguments])
        chosen = {**variables(), **indexes, **(environment or {})}
        if hide and folder is not None:
            chosen = hide_indexes(words, chosen, folder)
        return process.run(words, environment=chosen, folder=folder, on_line=on_line)

    return run
