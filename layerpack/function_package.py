"""Which files of a function's or an asset's folder are deployed: no leftovers, secrets or ignored
files.

Rules are in gitignore's syntax (gitignore(5)). The last one that matches a path decides, in this
order: `.gitignore` of each folder from the repository's root downward, data/leftovers.gitignore,
`.layerpackignore` of the same folders, `function.exclude`, `function.include`. As in git, nothing
below an ignored folder is read, except for files that `function.include` names. An asset's folder
has no rules but the leftovers and its own `exclude` and `include`: `.gitignore` often names models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from layerpack import data
from layerpack.errors import RecipeError
from layerpack.function_secrets import is_secret
from layerpack.project_root import repository_root
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Asset, Function
from layerpack.units import ASIDE, BESIDE_BUILD, LOCK

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_GIT: Final = ".gitignore"
_OWN: Final = ".layerpackignore"
#: Reasons that no note is made of.
_LEFTOVER: Final = "a leftover of a tool"
_LAYERPACK: Final = "a file of layerpack"
_SHOWN: Final = 5
_BESIDE_BUILD: Final = re.compile(rf"\.(.+)\.({'|'.join(BESIDE_BUILD)})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A file or folder of the source that is not deployed, and why: a rule (`src/.gitignore:3`),
    or what is wrong with it (of a link, where it leads)."""

    path: str
    reason: str
    is_link: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderFiles:
    """The files to deploy, relative to the source and sorted by their folders.

    `left_out` are those that a rule ignores. With `refused` (links that lead out, pipes) or
    `secrets` the folder cannot be deployed as it is.
    """

    files: tuple[Path, ...] = ()
    left_out: tuple[Refusal, ...] = ()
    refused: tuple[Refusal, ...] = ()
    secrets: tuple[str, ...] = ()


def function_files(recipe: Recipe) -> FolderFiles:
    """The files of the recipe's function; none where its source is no folder.

    Raises OSError for a folder or file that cannot be read.
    """
    if recipe.function is None or not (recipe.folder / recipe.function.source).is_dir():
        return FolderFiles()
    root = Path(os.path.realpath(recipe.folder / recipe.function.source))
    return _Selection(recipe, recipe.function, "function", root).result()


def asset_files(recipe: Recipe, asset: Asset, *, secrets: bool = True) -> FolderFiles:
    """The files of an asset that is a folder beside the recipe, where no script prepares it;
    without `secrets`, which takes reading them all, secret ones are among `files`.

    Raises OSError for a folder or file that cannot be read.
    """
    root = Path(os.path.realpath(recipe.folder / (asset.file or "")))
    return _Selection(recipe, asset, f"assets.{asset.name}", root, secrets=secrets).result()


def folder_mistakes(
    recipe: Recipe, key: str, root: Path, found: FolderFiles
) -> Iterator[RecipeError]:
    """The files of the folder `root`, which the `key` names, that cannot be deployed, or should not
    be."""
    where = f"{recipe.path}: {key}: {root}"
    part = key.rpartition(".")[0]
    if found.refused:
        hint = "Layers and functions hold files and folders with UTF-8 names; leave others out"
        if all(one.is_link for one in found.refused):
            hint = "Put a copy of the file in the link's place, or leave it out"
        yield RecipeError(
            f"{where}: {shortened([f'{one.path} {one.reason}' for one in found.refused])}",
            f"{hint} with {part}.exclude.",
        )
    if found.secrets:
        yield RecipeError(
            f"{where}: these files look like secrets: {', '.join(map(str, found.secrets))}",
            f"Leave them out with {part}.exclude, or deploy them with {part}.include.",
        )


def left_out_note(left_out: Iterable[Refusal]) -> str:
    """One line on what was left out, except for leftovers; empty where there is nothing else."""
    quiet = (_LEFTOVER, _LAYERPACK)
    told = [f"{one.path} ({one.reason})" for one in left_out if one.reason not in quiet]
    return f"the function package leaves out {shortened(told)}" if told else ""


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def is_pattern(text: str) -> bool:
    """Whether `text` is a pattern of gitignore's syntax."""
    try:
        _spec([text])
    except ValueError:
        return False
    return True


def _spec(lines: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 (only functions need it)

    return GitIgnoreSpec.from_lines(lines)


def _exact(regex: re.Pattern[str] | None) -> re.Pattern[str] | None:
    """A pattern's expression for the path itself: pathspec's own matches what is below as well.

    There it ends with a group for the slash of a folder; for `x/**`, with the slash.
    """
    if regex is None or not (regex.groupindex or regex.pattern.endswith("/")):
        return regex
    end = r"\Z" if regex.groupindex else "."
    return re.compile(f"(?:{regex.pattern}){end}")


class _Rules:
    """Patterns for the paths below `base`, from a file's or the recipe's `lines`."""

    def __init__(self, base: Path, lines: Iterable[str], name: str) -> None:
        self.base = base
        self.name = name
        # A line that is no pattern is ignored, as by git, and counts for the others' numbers.
        self.lines = [line if line and is_pattern(line) else "#" for line in lines]
        self._spec = _spec(self.lines)
        self._exact = [_exact(one.regex) for one in self._spec.patterns]

    def verdict(self, path: Path, *, folder: bool = False) -> tuple[bool, int] | None:
        """Whether a path is ignored, and by which line (from 1); None where no pattern matches.

        Patterns that match a folder above it do not count: who walks has met it there.
        """
        name = self._name(path, folder=folder)
        for number in range(len(self.lines), 0, -1):
            exact = self._exact[number - 1]
            if exact is not None and exact.search(name):
                return bool(self._spec.patterns[number - 1].include), number
        return None

    def covers(self, path: Path, *, folder: bool = False) -> bool:
        """Whether a pattern matches a path or a folder above it, and none excepts it."""
        return self._spec.match_file(self._name(path, folder=folder))

    def sparing(self, source: Path) -> _Rules:
        """These rules without the patterns that ignore the `source` as a whole, as a recipe that
        names generated code in an ignored folder means it."""
        if source == self.base or not self.covers(source, folder=True):
            return self
        name = self._name(source, folder=True)
        lines = ["#" if _spec([line]).match_file(name) else line for line in self.lines]
        return _Rules(self.base, lines, self.name)

    def _name(self, path: Path, *, folder: bool) -> str:
        name = path.relative_to(self.base).as_posix()
        return f"{name}/" if folder else name


class _Selection:
    """One walk over the folder that a part of the recipe, called `key`, names."""

    def __init__(
        self,
        recipe: Recipe,
        part: Function | Asset,
        key: str,
        root: Path,
        *,
        secrets: bool = True,
    ) -> None:
        self._root = root
        self._looks = secrets
        self._project = recipe.root
        self._is_function = isinstance(part, Function)
        self._included = _Rules(root, part.include, f"{key}.include")
        self._excluded = _Rules(root, part.exclude, f"{key}.exclude")
        self._leftovers = _Rules(root, data.text("leftovers.gitignore").splitlines(), _LEFTOVER)
        top = repository_root(root) or self._project
        above = [one for one in reversed((root, *root.parents)) if one.is_relative_to(top)]
        self._above = above[:-1]
        own = (recipe.path, recipe.lock_path, recipe.recording_path)
        self._own = {Path(os.path.realpath(path)) for path in own}
        self._name_of_build = recipe.name
        self._files: list[Path] = []
        self._left_out: list[Refusal] = []
        self._refused: list[Refusal] = []
        self._skipped = 0
        self._secrets: list[str] = []

    def result(self) -> FolderFiles:
        """Walk, and give what was found."""
        rules: dict[str, list[_Rules]] = {
            name: [
                one.sparing(self._root)
                for folder in self._above
                for one in self._rules_in(folder, name)
            ]
            for name in (_GIT, _OWN)
        }
        self._walk(self._root, rules, "")
        return FolderFiles(
            files=tuple(self._files),
            left_out=tuple(self._left_out),
            refused=tuple(self._refused),
            secrets=tuple(self._secrets),
        )

    def _rules_in(self, folder: Path, name: str) -> Iterator[_Rules]:
        file = folder / name
        if self._is_function and file.is_file():
            text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
            yield _Rules(folder, text.splitlines(), os.path.relpath(file, self._project))

    def _walk(self, folder: Path, rules: dict[str, list[_Rules]], ignored: str) -> None:
        """Take a folder's files; where it is `ignored`, only those that the recipe includes."""
        if not ignored:
            rules = {
                name: [*former, *self._rules_in(folder, name)] for name, former in rules.items()
            }
        for path in sorted(folder.iterdir()):
            is_folder = path.is_dir() and not path.is_symlink()
            included = self._included.covers(path, folder=is_folder)
            reason = "" if included else ignored or self._reason(path, rules, is_folder=is_folder)
            taken, skipped = len(self._files), self._skipped
            if is_folder and (not reason or self._included.lines):
                self._walk(path, rules, reason)
            elif not is_folder and reason:
                self._skipped += 1
            elif not is_folder:
                self._take(path, included=included)
            # Of a folder, all files may be included.
            is_whole = len(self._files) == taken
            if reason and not ignored and (is_whole or self._skipped > skipped):
                self._left_out.append(Refusal(path=self._name(path), reason=reason))

    def _reason(self, path: Path, rules: dict[str, list[_Rules]], *, is_folder: bool) -> str:
        """Why a path is left out; empty where it is not."""
        if path in self._own or self._is_of_build(path):
            return _LAYERPACK
        for one in (
            *(self._excluded, *reversed(rules[_OWN])),
            *(self._leftovers, *reversed(rules[_GIT])),
        ):
            verdict = one.verdict(path, folder=is_folder)
            # A virtual environment has any name (PEP 405).
            if one is self._leftovers and is_folder and (path / "pyvenv.cfg").is_file():
                return _LEFTOVER
            if verdict is None or (one is self._leftovers and not verdict[0]):
                continue
            numbered = one.name.endswith((_GIT, _OWN))
            return (f"{one.name}:{verdict[1]}" if numbered else one.name) if verdict[0] else ""
        return ""

    def _is_of_build(self, path: Path) -> bool:
        """Whether a path is what `layerpack build` made, or what a killed layerpack left."""
        beside = _BESIDE_BUILD.fullmatch(path.name)
        if path.name.startswith(ASIDE) or (beside and beside[2] != LOCK):
            return True
        # Other programs have locks of such names as well.
        built = path.with_name(beside[1]) if beside else path
        return bool(beside and beside[1] == self._name_of_build) or all(
            (built / name).is_file() for name in ("manifest.json", ".state.json")
        )

    def _take(self, path: Path, *, included: bool) -> None:
        name = self._name(path)
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        problem = self._problem(path, target, included=included)
        inside = target.relative_to(self._root) if target.is_relative_to(self._root) else target
        if problem:
            is_link = path.is_symlink()
            self._refused.append(Refusal(path=name, reason=problem, is_link=is_link))
        elif self._looks and not included and is_secret(target, {name, inside.as_posix()}):
            self._secrets.append(name)
        else:
            self._files.append(path.relative_to(self._root))

    def _problem(self, path: Path, target: Path, *, included: bool) -> str:
        """What a package cannot hold of a path, as a phrase; empty where it can."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            return "has a name that is not UTF-8"
        if path.is_symlink() and not target.is_relative_to(self._project):
            return f"is a link to {path.readlink()}, out of the project {self._project}"
        if path.is_symlink() and not target.is_file():
            return "is a link to a folder, or a dead one"
        if not target.is_file():
            return "is neither a file nor a folder"
        if self._is_function and not included and not target.is_relative_to(self._root):
            return (
                f"is a link to {path.readlink()}, out of the function's folder; function.include "
                "follows it"
            )
        return ""

    def _name(self, path: Path) -> str:
        name = path.relative_to(self._root).as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            return repr(name)
        return name
