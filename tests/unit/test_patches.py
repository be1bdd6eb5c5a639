"""Patches: each applies as asked or stops the build, and touches nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.patches import Patched, apply_patches, matches
from layerpack.payload import Payload
from layerpack.recipe import Recipe
from tests.support.recipes import load, payload_in

SOURCES: dict[str, str | bytes] = {
    "python/alpha/__init__.py": "import numpy as onp\nx = onp.bool\ny = onp.bool_\n",
    "python/alpha/deep/more.py": "a = onp.bool(1) or onp.bool(2)\n",
    "python/alpha/notes.txt": "onp.bool\n",
    "assets/other/data.py": "onp.bool\n",
}


def recipe(folder: Path, patch: str) -> Recipe:
    """A recipe with one patch, whose keys are given as flow YAML."""
    return load(folder, more=f"patches: [{patch}]")


def apply(folder: Path, patch: str, sources: dict[str, str | bytes]) -> Payload:
    """The payload of the sources after the patch."""
    payload = payload_in(folder / "files", sources)
    return apply_patches(payload, recipe(folder, patch), folder / "cache")[0]


def contents(payload: Payload) -> dict[str, bytes]:
    """Each path with its bytes."""
    return {entry.path: entry.source.read_bytes() for entry in payload}


def refusal(folder: Path, patch: str) -> str:
    """Why the patch does not apply to SOURCES."""
    with pytest.raises(RecipeError) as caught:
        apply(folder, patch, SOURCES)
    return str(caught.value).replace(f"{folder}/", "")


def test_every_occurrence_is_replaced_in_python_files_only(tmp_path: Path) -> None:
    payload = payload_in(tmp_path / "files", SOURCES)
    patch = r"{package: alpha, replace: {pattern: '\bonp\.bool\b', with: bool}}"
    patched, records = apply_patches(payload, recipe(tmp_path, patch), tmp_path / "cache")
    assert contents(patched) == {
        "assets/other/data.py": b"onp.bool\n",
        "python/alpha/__init__.py": b"import numpy as onp\nx = bool\ny = onp.bool_\n",
        "python/alpha/deep/more.py": b"a = bool(1) or bool(2)\n",
        "python/alpha/notes.txt": b"onp.bool\n",
    }
    changed = {"python/alpha/__init__.py": 1, "python/alpha/deep/more.py": 2}
    assert records == tuple(
        Patched(
            before=payload[path],
            after=patched[path],
            pattern=r"\bonp\.bool\b",
            replacements=count,
        )
        for path, count in changed.items()
    )
    # What was unpacked is shared by all recipes, and stays.
    assert contents(payload) == {
        path: text if isinstance(text, bytes) else text.encode() for path, text in SOURCES.items()
    }


def test_groups_line_starts_and_globs_work_as_documented(tmp_path: Path) -> None:
    patch = (
        "{package: alpha, files: ['alpha/*.txt'], "
        r"replace: {pattern: '^(\w+)\.(\w+)$', with: '\2 of \1', count: 1}}"
    )
    patched = apply(tmp_path, patch, SOURCES)
    assert contents(patched)["python/alpha/notes.txt"] == b"bool of onp\n"


def test_patches_apply_in_order_each_to_what_the_former_left(tmp_path: Path) -> None:
    more = """\
        patches:
          - {package: alpha, replace: {pattern: one, with: two}}
          - {package: alpha, replace: {pattern: two, with: three, count: 2}}
        """
    payload = payload_in(tmp_path / "files", {"python/a.py": "one two\n"})
    patched, _ = apply_patches(payload, load(tmp_path, more=more), tmp_path / "cache")
    assert contents(patched) == {"python/a.py": b"three three\n"}


def test_bytes_around_a_replacement_stay_as_they_are(tmp_path: Path) -> None:
    latin = "# caf\xe9\r\nvalue = old\r\n".encode("latin-1")
    patch = "{package: alpha, replace: {pattern: old, with: new}}"
    sources: dict[str, str | bytes] = {
        "python/alpha/latin.py": latin,
        "python/alpha/bom.py": b"\xef\xbb\xbfold\n",
        "python/alpha/other.py": b"\xff\xfe\r\r\n\0",
    }
    patched = apply(tmp_path, patch, sources)
    assert contents(patched) == {
        "python/alpha/bom.py": b"\xef\xbb\xbfnew\n",
        "python/alpha/latin.py": b"# caf\xe9\r\nvalue = new\r\n",
        "python/alpha/other.py": b"\xff\xfe\r\r\n\0",
    }
    assert patched["python/alpha/other.py"].source.is_relative_to(tmp_path / "files")


def test_the_record_of_a_patched_file_is_measured(tmp_path: Path) -> None:
    patch = "{package: alpha, replace: {pattern: y = .*, with: ''}}"
    entry = apply(tmp_path, patch, SOURCES)["python/alpha/__init__.py"]
    assert entry.size == entry.source.stat().st_size == len("import numpy as onp\nx = onp.bool\n\n")


def test_an_unknown_distribution_is_told_with_those_there_are(tmp_path: Path) -> None:
    assert refusal(tmp_path, "{package: beta, replace: {pattern: a, with: b}}") == (
        "recipe.yaml: patches[0] (beta): no such distribution in the lock\nThere are: alpha"
    )


def test_files_that_match_nothing_are_told(tmp_path: Path) -> None:
    patch = "{package: alpha, files: ['beta/*.py', '*.pyx'], replace: {pattern: a, with: b}}"
    assert refusal(tmp_path, patch) == (
        "recipe.yaml: patches[0] (alpha): none of its files matches beta/*.py, *.pyx"
    )


def test_a_pattern_that_stands_nowhere_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path, "{package: alpha, replace: {pattern: np.int, with: int}}") == (
        "recipe.yaml: patches[0] (alpha): does not apply: 'np.int' stands 0 times in 2 files, "
        "expected at least one\nHas the locked version changed? Fix or remove the patch."
    )


@pytest.mark.parametrize("count", [2, 4])
def test_another_count_than_asked_is_told(tmp_path: Path, count: int) -> None:
    replace = rf"{{pattern: 'onp\.bool\b', with: bool, count: {count}}}"
    assert refusal(tmp_path, f"{{package: alpha, replace: {replace}}}") == (
        r"recipe.yaml: patches[0] (alpha): does not apply: 'onp\.bool\b' stands 3 times in "
        f"2 files, expected {count}\nHas the locked version changed? Fix or remove the patch."
    )


@pytest.mark.parametrize(
    ("with_", "reason"),
    [
        (r"\1", "invalid group reference 1 at position 1"),
        (r"\g<name>", "unknown group name 'name'"),
        (r"\q", r"bad escape \q at position 0"),
    ],
)
def test_a_replacement_that_cannot_be_put_in_is_told(
    tmp_path: Path, with_: str, reason: str
) -> None:
    patch = f"{{package: alpha, replace: {{pattern: numpy, with: '{with_}'}}}}"
    assert refusal(tmp_path, patch) == (
        f"recipe.yaml: patches[0] (alpha): '{with_}' cannot be put in: {reason}"
    )


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.py", "**/*.py", True),
        ("a/b/c.py", "**/*.py", True),
        ("a/b/c.py", "a/*.py", True),
        ("a/c.pyx", "**/*.py", False),
        ("A.py", "a.py", False),
        (None, "**/*.py", False),
    ],
)
def test_globs_match_paths(path: str | None, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected
